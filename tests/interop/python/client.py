"""A workload in Python: asks the Workload API at SPIFFE_ENDPOINT_SOCKET through the package `spiffe`, or through its
stubs alone, and says in JSON, one line an event, what it got. Usage: client.py admin | fetch | jwt | watch | fork | headers | reflect,
or client.py oidc ISSUER AUTHORITIES AUDIENCE TOKEN: as somebody who knows OpenID Connect and no Workload API."""

import base64
import json
import os
import ssl
import subprocess
import sys
import threading
import urllib.request

import grpc
import jwt as pyjwt
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase
from spiffe import JwtSvid, WorkloadApiClient
from spiffe._proto import workload_pb2, workload_pb2_grpc


def say(event):
    print(json.dumps(event), flush=True)


def told(context):
    return {
        "svids": [
            {
                "id": str(svid.spiffe_id),
                "serial": format(svid.leaf.serial_number, "x"),
                "key": svid.private_key.public_key() == svid.leaf.public_key(),
            }
            for svid in context.x509_svids
        ],
        "bundles": {
            bundle.trust_domain.name: len(bundle.x509_authorities) for bundle in context.x509_bundle_set.bundles
        },
    }


def fetch():
    with WorkloadApiClient() as client:
        try:
            event = told(client.fetch_x509_context())
            bundles = client.fetch_x509_bundles().bundles
            event["bundles"] = {bundle.trust_domain.name: len(bundle.x509_authorities) for bundle in bundles}
            say(event)
        except Exception as error:
            say({"error": str(error), "cause": str(error.__cause__ or error.__context__)})


def jwt():
    """Tokens for an audience, verified by the package with the bundles, and by the agent; and the agent's word on another audience."""
    with WorkloadApiClient() as client:
        try:
            bundles = client.fetch_jwt_bundles()
            event = {"svids": [], "bundles": {}}
            for bundle in bundles.bundles:
                event["bundles"][bundle.trust_domain.name] = len(bundle.jwt_authorities)
            for svid in client.fetch_jwt_svids({"db"}):
                bundle = bundles.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
                verified = JwtSvid.parse_and_validate(svid.token, bundle, {"db"})
                validated = client.validate_jwt_svid(svid.token, "db")
                try:
                    client.validate_jwt_svid(svid.token, "other")
                    refused = False
                except Exception as error:
                    refused = str(error)
                event["svids"].append(
                    {
                        "id": str(svid.spiffe_id),
                        "verified": verified.spiffe_id == svid.spiffe_id == validated.spiffe_id,
                        "audience": sorted(svid.audience),
                        "refused": refused,
                    }
                )
            say(event)
        except Exception as error:
            say({"error": str(error), "cause": str(error.__cause__ or error.__context__)})


def oidc(issuer, authorities, audience, token):
    """Looks the issuer up by its discovery document, and verifies the token with PyJWT; then the same with one bit of its claims changed."""
    tls = ssl.create_default_context(cafile=authorities)
    with urllib.request.urlopen(issuer + "/.well-known/openid-configuration", context=tls, timeout=10) as told:
        configuration = json.load(told)
    keys = pyjwt.PyJWKClient(configuration["jwks_uri"], ssl_context=tls, cache_jwk_set=False)

    def verified(token):
        try:
            key = keys.get_signing_key_from_jwt(token)
            claims = pyjwt.decode(
                token,
                key,
                algorithms=configuration["id_token_signing_alg_values_supported"],
                audience=audience,
                issuer=configuration["issuer"],
                options={"require": ["exp", "iat", "iss", "sub", "aud"]},
            )
            return {"sub": claims["sub"]}
        except pyjwt.PyJWTError as error:
            return {"refused": type(error).__name__, "why": str(error)}

    header, claims, signature = token.split(".")
    octets = bytearray(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    at = octets.index(b'"sub":"spiffe://') + 20
    octets[at] ^= 1
    changed = base64.urlsafe_b64encode(octets).rstrip(b"=").decode()
    say(
        {
            "configuration": configuration,
            "kids": [key["kid"] for key in keys.fetch_data()["keys"]],
            "token": verified(token),
            "changed": verified(".".join([header, changed, signature])),
        }
    )


def watch():
    with WorkloadApiClient() as client:
        ended = threading.Event()

        def failed(error):
            say({"error": str(error)})

        client.stream_x509_contexts(lambda context: say(told(context)), failed, retry_connect=True)
        ended.wait(20)


def fork():
    """Fetches over one connection, with children born in between that leave it alone."""
    with WorkloadApiClient() as client:
        say(told(client.fetch_x509_context()))
        subprocess.run(["true"], check=True)
        say(told(client.fetch_x509_context()))
        child = os.fork()
        if child == 0:
            os._exit(0)
        os.waitpid(child, 0)
        say(told(client.fetch_x509_context()))


def code(call):
    """The status code's name of a unary or streaming call."""
    try:
        answer = call()
        if hasattr(answer, "__iter__"):
            next(iter(answer))
            answer.cancel()
        return "OK"
    except grpc.RpcError as error:
        return error.code().name


def headers():
    """All seven calls, raw, with wrong metadata and with the right one."""
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        stub = workload_pb2_grpc.SpiffeWorkloadAPIStub(channel)
        messages = {
            "FetchX509SVID": workload_pb2.X509SVIDRequest(),
            "FetchX509Bundles": workload_pb2.X509BundlesRequest(),
            "FetchJWTSVID": workload_pb2.JWTSVIDRequest(audience=["a"]),
            "FetchJWTBundles": workload_pb2.JWTBundlesRequest(),
            "ValidateJWTSVID": workload_pb2.ValidateJWTSVIDRequest(audience="a", svid="b"),
        }
        key = "workload.spiffe.io"
        for name, metadata in {
            "none": [],
            "True": [(key, "True")],
            "empty": [(key, "")],
            "twice": [(key, "true"), (key, "true")],
            "right": [(key, "true")],
        }.items():
            codes = {
                method: code(lambda: getattr(stub, method)(message, metadata=metadata, timeout=5))
                for method, message in messages.items()
            }
            say({"metadata": name, "codes": codes})


def admin():
    """Calls of the server's admin socket, whose messages are made by hand: a count, a list, and one with a large
    request of several frames."""
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        service = "/spire.api.server.entry.v1.Entry/"
        field = lambda number, value: bytes([number << 3 | 2, len(value)]) + value
        entry = field(2, field(1, b"example.org") + field(2, b"/from-python"))
        # Refused one by one, each with its own status: they have no parent.
        batch = field(1, entry) * 2000
        for method, request in [("CountEntries", b""), ("ListEntries", b""), ("BatchCreateEntry", batch)]:
            call = channel.unary_unary(service + method)
            try:
                say({"method": method, "code": "OK", "bytes": len(call(request, timeout=10))})
            except grpc.RpcError as error:
                say({"method": method, "code": error.code().name, "details": error.details()})


def reflect():
    with grpc.insecure_channel(os.environ["SPIFFE_ENDPOINT_SOCKET"]) as channel:
        database = ProtoReflectionDescriptorDatabase(channel)
        file = database.FindFileContainingSymbol("SpiffeWorkloadAPI")
        service = next(service for service in file.service if service.name == "SpiffeWorkloadAPI")
        say({"services": list(database.get_services()), "methods": [method.name for method in service.method]})


if __name__ == "__main__":
    {"admin": admin, "fetch": fetch, "jwt": jwt, "watch": watch, "fork": fork, "headers": headers, "reflect": reflect, "oidc": oidc}[sys.argv[1]](*sys.argv[2:])
