"""A workload in Python: gets its identity through the package `spiffe`, calls a peer over mutual TLS, and says in
JSON who it is and whom it met. Usage: workload.py PORT EXPECTED-PEER-ID"""

import json
import os
import socket
import ssl
import sys
import tempfile

from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from spiffe import WorkloadApiClient


def main(port, expected):
    with WorkloadApiClient() as client:
        context = client.fetch_x509_context()
    svid = context.default_svid
    bundle = context.x509_bundle_set.get_bundle_for_trust_domain(svid.spiffe_id.trust_domain)
    # Python's ssl takes a certificate with its key from files alone; the folder is this user's and goes at the end.
    with tempfile.TemporaryDirectory() as folder:
        chain = os.path.join(folder, "chain.pem")
        with open(os.open(chain, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as out:
            out.write(svid.private_key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
            out.writelines(c.public_bytes(Encoding.PEM) for c in svid.cert_chain)
        tls = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tls.check_hostname = False  # a SPIFFE ID is checked below in the name's place
        tls.load_cert_chain(chain)
        tls.load_verify_locations(
            cadata="".join(a.public_bytes(Encoding.PEM).decode() for a in bundle.x509_authorities)
        )
    with socket.create_connection(("127.0.0.1", port), timeout=10) as tcp, tls.wrap_socket(tcp) as stream:
        peer = [value for kind, value in stream.getpeercert()["subjectAltName"] if kind == "URI"]
        if peer != [expected]:
            sys.exit(f"the peer is {peer}, not {expected}")
        stream.sendall(b"good day\n")
        answer = b"".join(iter(lambda: stream.recv(4096), b"")).decode()
        print(json.dumps({
            "spiffe_id": str(svid.spiffe_id),
            "serial": svid.leaf.serial_number.to_bytes(20, "big").lstrip(b"\0").hex(),
            "not_after": svid.leaf.not_valid_after_utc.isoformat(),
            "tls": stream.version(),
            "cipher": stream.cipher()[0],
            "peer": peer[0],
            "answer": answer,
        }))


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
