//! Registration entries.

use hallmark_api::types;
use hallmark_host::printable;
use serde::Serialize;

use super::node::{dash, selector_texts};
use crate::{
    error::CliError,
    lookup::message_id,
    output::{Row, Show},
    table::{columns, facts},
    timestamp::{rfc3339, told},
};

/// A registration entry.
#[derive(Debug, Serialize)]
pub(crate) struct EntryView {
    id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<String>,
    /// Seconds; 0 means the server's default.
    x509_svid_ttl: i32,
    jwt_svid_ttl: i32,
    federates_with: Vec<String>,
    dns_names: Vec<String>,
    hint: String,
    admin: bool,
    downstream: bool,
    store_svid: bool,
    disable_x509_svid_prefetch: bool,
    jwt_svid_include_jti: bool,
    expires_at: Option<String>,
    created_at: Option<String>,
    revision: i64,
    #[serde(skip)]
    times: (i64, i64),
}

impl EntryView {
    pub(crate) fn new(entry: types::Entry) -> Result<Self, CliError> {
        let more = entry.additional_attributes.unwrap_or_default();
        Ok(Self {
            id: entry.id,
            spiffe_id: message_id(entry.spiffe_id)?.to_string(),
            parent_id: message_id(entry.parent_id)?.to_string(),
            selectors: selector_texts(entry.selectors),
            x509_svid_ttl: entry.x509_svid_ttl,
            jwt_svid_ttl: entry.jwt_svid_ttl,
            federates_with: entry.federates_with,
            dns_names: entry.dns_names,
            hint: entry.hint,
            admin: entry.admin,
            downstream: entry.downstream,
            store_svid: entry.store_svid,
            disable_x509_svid_prefetch: more.disable_x509_svid_prefetch,
            jwt_svid_include_jti: more.jwt_svid_include_jti,
            expires_at: rfc3339(entry.expires_at),
            created_at: rfc3339(entry.created_at),
            revision: entry.revision_number,
            times: (entry.expires_at, entry.created_at),
        })
    }
}

impl Show for EntryView {
    fn table(&self, now: i64) -> String {
        let time = |at| {
            if at == 0 { String::new() } else { told(at, now) }
        };
        let ttl = |seconds| {
            if seconds == 0 {
                "server default".into()
            } else {
                format!("{seconds} s")
            }
        };
        let flags = [
            ("admin", self.admin),
            ("downstream", self.downstream),
            ("store-svid", self.store_svid),
            ("no-prefetch", self.disable_x509_svid_prefetch),
            ("jti", self.jwt_svid_include_jti),
        ];
        let flags: Vec<&str> = flags
            .into_iter()
            .filter_map(|(name, set)| set.then_some(name))
            .collect();
        let mut lines = vec![
            ("entry", self.id.clone()),
            ("spiffe id", self.spiffe_id.clone()),
            ("parent", self.parent_id.clone()),
        ];
        lines.extend(self.selectors.iter().map(|selector| ("selector", selector.clone())));
        lines.extend([
            ("x509 ttl", ttl(self.x509_svid_ttl)),
            ("jwt ttl", ttl(self.jwt_svid_ttl)),
            ("dns", self.dns_names.join(", ")),
            ("federates", self.federates_with.join(", ")),
            ("hint", self.hint.clone()),
            ("flags", flags.join(", ")),
            ("expires", time(self.times.0)),
            ("created", time(self.times.1)),
            ("revision", self.revision.to_string()),
        ]);
        facts(&lines)
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct EntryList(pub(crate) Vec<EntryView>);

impl EntryList {
    pub(crate) fn new(entries: Vec<types::Entry>) -> Result<Self, CliError> {
        entries
            .into_iter()
            .map(EntryView::new)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl Row<5> for EntryView {
    const HEADINGS: [&'static str; 5] = ["ENTRY", "SPIFFE ID", "PARENT", "SELECTORS", "HINT"];

    fn cells(&self) -> [String; 5] {
        [
            self.id.clone(),
            self.spiffe_id.clone(),
            self.parent_id.clone(),
            self.selectors.join(" "),
            dash(&self.hint),
        ]
    }
}

impl Show for EntryList {
    fn table(&self, _: i64) -> String {
        let rows: Vec<_> = self.0.iter().map(Row::cells).collect();
        columns(EntryView::HEADINGS, &rows)
    }
}

/// What happened, or would happen, to one entry.
#[derive(Debug, Serialize)]
pub(crate) struct EntryChange {
    /// `create`, `update` or `delete`.
    pub(crate) action: &'static str,
    pub(crate) dry_run: bool,
    pub(crate) entry: EntryView,
    /// What in it matches nothing.
    pub(crate) warnings: Vec<String>,
}

impl Show for EntryChange {
    fn table(&self, now: i64) -> String {
        let verb = if self.dry_run { "would " } else { "" };
        format!("{verb}{}\n{}", self.action, self.entry.table(now))
    }
}

#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(crate) struct EntryChanges(pub(crate) Vec<EntryChange>);

impl Show for EntryChanges {
    fn table(&self, _: i64) -> String {
        let told = self.0.iter().map(|change| {
            let verb = if change.dry_run { "would " } else { "" };
            format!(
                "{verb}{} {} {}\n",
                change.action, change.entry.id, change.entry.spiffe_id
            )
        });
        told.collect()
    }
}

/// What becomes, or would become, of the entries by a file.
#[derive(Debug, Serialize)]
pub(crate) struct AppliedEntries {
    pub(crate) dry_run: bool,
    pub(crate) changes: Vec<AppliedEntry>,
    /// How many entries of the file are already as it says.
    pub(crate) unchanged: usize,
    /// What in the file matches nothing.
    pub(crate) warnings: Vec<String>,
}

/// An entry that changes.
#[derive(Debug, Serialize)]
pub(crate) struct AppliedEntry {
    /// `create`, `update` or `delete`.
    action: &'static str,
    /// Empty for one whose id the server chooses.
    id: String,
    spiffe_id: String,
    parent_id: String,
    selectors: Vec<String>,
    /// What an update changes.
    fields: Vec<FieldChange>,
}

/// A field that changes.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct FieldChange {
    pub(crate) field: &'static str,
    pub(crate) from: String,
    pub(crate) to: String,
}

impl AppliedEntry {
    pub(crate) fn new(action: &'static str, entry: &types::Entry, fields: Vec<FieldChange>) -> Self {
        let id = |id: &Option<types::Spiffeid>| {
            id.as_ref()
                .map_or_else(String::new, |id| format!("spiffe://{}{}", id.trust_domain, id.path))
        };
        Self {
            action,
            id: entry.id.clone(),
            spiffe_id: id(&entry.spiffe_id),
            parent_id: id(&entry.parent_id),
            selectors: selector_texts(entry.selectors.clone()),
            fields,
        }
    }

    /// The change's name in messages: by the entry's id, or by what it says where the server chooses the id.
    pub(crate) fn name(&self) -> String {
        if self.id.is_empty() {
            format!("{} {} {}", self.action, self.spiffe_id, self.selectors.join(" "))
        } else {
            format!("{} {}", self.action, self.id)
        }
    }
}

impl Show for AppliedEntries {
    fn table(&self, _: i64) -> String {
        self.text(!self.dry_run)
    }
}

impl AppliedEntries {
    /// The changes for people, as done or as what would be done.
    pub(crate) fn text(&self, done: bool) -> String {
        let mut lines = Vec::new();
        for change in &self.changes {
            let sign = match change.action {
                "create" => '+',
                "delete" => '-',
                _ => '~',
            };
            let id = if change.id.is_empty() { "(new)" } else { &change.id };
            lines.push(printable(&format!(
                "{sign} {id}  {}  {}",
                change.spiffe_id,
                change.selectors.join(" ")
            )));
            for field in &change.fields {
                let told = |text: &str| {
                    if text.is_empty() {
                        "-".to_owned()
                    } else {
                        printable(text)
                    }
                };
                lines.push(format!(
                    "    {}: {} -> {}",
                    field.field,
                    told(&field.from),
                    told(&field.to)
                ));
            }
        }
        let count = |action| self.changes.iter().filter(|change| change.action == action).count();
        let would = if done { "" } else { "would be " };
        lines.push(format!(
            "{would}created: {}, updated: {}, deleted: {}; unchanged: {}",
            count("create"),
            count("update"),
            count("delete"),
            self.unchanged
        ));
        lines.join("\n") + "\n"
    }
}
