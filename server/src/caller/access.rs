//! Which role each method asks for.

/// Who may call a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "one flag per role, as in the table of the API"
)]
pub struct Access {
    /// Whoever can connect.
    pub anyone: bool,
    /// Processes on the admin socket.
    pub local: bool,
    /// Administrators over TLS.
    pub admin: bool,
    /// Active agents.
    pub agent: bool,
    /// Holders of `downstream` entries.
    pub downstream: bool,
}

const NOBODY: Access = Access {
    anyone: false,
    local: false,
    admin: false,
    agent: false,
    downstream: false,
};
const ANYONE: Access = Access { anyone: true, ..NOBODY };
const LOCAL: Access = Access { local: true, ..NOBODY };
const ADMIN: Access = Access { admin: true, ..LOCAL };
const AGENT: Access = Access { agent: true, ..NOBODY };
const ADMIN_OR_AGENT: Access = Access { agent: true, ..ADMIN };
const DOWNSTREAM: Access = Access {
    downstream: true,
    ..NOBODY
};

impl Access {
    /// Whether the method exists on the admin socket alone.
    #[must_use]
    pub fn is_local_only(self) -> bool {
        self == LOCAL
    }
}

/// Who may call the method at `path` (`/package.Service/Method`); `None` for a method that does not exist.
#[must_use]
pub fn access(path: &str) -> Option<Access> {
    let (service, method) = path.strip_prefix('/')?.split_once('/')?;
    match service {
        "spire.api.server.agent.v1.Agent" => agent(method),
        "spire.api.server.entry.v1.Entry" => entry(method),
        "spire.api.server.svid.v1.SVID" => svid(method),
        "spire.api.server.bundle.v1.Bundle" => bundle(method),
        "spire.api.server.localauthority.v1.LocalAuthority" => local_authority(method),
        "hallmark.provision.v1.Provisioning" => provisioning(method),
        "grpc.health.v1.Health"
        | "hallmark.admin.v1.Admin"
        | "hallmark.admin.v1.Lifecycle"
        | "hallmark.admin.v1.Provision" => Some(LOCAL),
        _ => None,
    }
}

/// The method that strangers call without being looked at further; its request is a few flags.
const STRANGERS_UNARY: &str = "/spire.api.server.bundle.v1.Bundle/GetBundle";

/// How much of a request from a stranger is read, in bytes; `None` where the method bounds it by itself.
#[must_use]
pub fn strangers_limit(path: &str) -> Option<usize> {
    (path == STRANGERS_UNARY).then_some(4 * 1024)
}

fn agent(method: &str) -> Option<Access> {
    Some(match method {
        "AttestAgent" => ANYONE,
        "RenewAgent" | "PostStatus" => AGENT,
        "CountAgents" | "ListAgents" | "GetAgent" | "DeleteAgent" | "BanAgent" | "CreateJoinToken" => ADMIN,
        _ => return None,
    })
}

fn entry(method: &str) -> Option<Access> {
    Some(match method {
        "GetAuthorizedEntries" | "SyncAuthorizedEntries" => AGENT,
        "CountEntries" | "ListEntries" | "GetEntry" | "BatchCreateEntry" | "BatchUpdateEntry" | "BatchDeleteEntry" => {
            ADMIN
        }
        _ => return None,
    })
}

fn provisioning(method: &str) -> Option<Access> {
    matches!(method, "GetAssignment" | "ReportStep").then_some(AGENT)
}

fn local_authority(method: &str) -> Option<Access> {
    let known = [
        "GetX509AuthorityState",
        "PrepareX509Authority",
        "ActivateX509Authority",
        "TaintX509Authority",
        "RevokeX509Authority",
        "TaintX509UpstreamAuthority",
        "RevokeX509UpstreamAuthority",
        "GetJWTAuthorityState",
        "PrepareJWTAuthority",
        "ActivateJWTAuthority",
        "TaintJWTAuthority",
        "RevokeJWTAuthority",
    ];
    known.contains(&method).then_some(ADMIN)
}

fn svid(method: &str) -> Option<Access> {
    Some(match method {
        "MintX509SVID" | "MintJWTSVID" => ADMIN,
        "BatchNewX509SVID" | "NewJWTSVID" => AGENT,
        "NewDownstreamX509CA" => DOWNSTREAM,
        _ => return None,
    })
}

fn bundle(method: &str) -> Option<Access> {
    Some(match method {
        "GetBundle" => ANYONE,
        "GetFederatedBundle" => ADMIN_OR_AGENT,
        "PublishJWTAuthority" => DOWNSTREAM,
        "AppendBundle"
        | "CountBundles"
        | "ListFederatedBundles"
        | "BatchCreateFederatedBundle"
        | "BatchUpdateFederatedBundle"
        | "BatchSetFederatedBundle"
        | "BatchDeleteFederatedBundle" => ADMIN,
        _ => return None,
    })
}
