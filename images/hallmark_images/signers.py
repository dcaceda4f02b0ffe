"""The certificates whose keys may sign images: machines read them from /etc/hallmark/image-signers (firmware-agent/src/provision/signers.rs)."""

import pathlib
import re

from . import ImageError, run

FOLDER = "etc/hallmark/image-signers"
# What the build calls the certificate of its own key there.
OWN = "image.pem"
CURVES = {"prime256v1", "secp384r1"}


def check(folder: pathlib.Path):
    """Whether each file of a site's folder is a certificate that machines take."""
    for path in sorted(folder.iterdir()) if folder.exists() else []:
        if path.name == OWN or path.suffix != ".pem" or path.is_symlink() or not path.is_file():
            raise ImageError(f"{path} is not a file NAME.pem, or is {OWN}, which the build writes itself", "put each certificate there as a file of its own; db.crt of the keys is there anyway")
        check_certificate(path)


def check_certificate(path: pathlib.Path):
    """Whether a file is one certificate with a key that machines take, and nothing else."""
    labels = [found.decode() for found in re.findall(rb"-----BEGIN ([^-\n]*)-----", path.read_bytes())]
    if any("PRIVATE KEY" in label for label in labels):
        raise ImageError(f"{path} has a private key: every machine would have it, and who reads one could sign images", "leave the certificate alone in the file; make a new key if this one was in an image")
    if labels != ["CERTIFICATE"]:
        raise ImageError(f"{path} has {', '.join(labels) or 'no PEM'} instead of one CERTIFICATE", "one certificate in each file, PEM")
    said = run("openssl", "pkey", "-pubin", "-noout", "-text", input=run("openssl", "x509", "-in", path, "-noout", "-pubkey")).decode()
    bits, curve = re.search(r"^(?:RSA )?Public-Key: \((\d+) bit", said, re.M), re.search(r"^ASN1 OID: (\S+)", said, re.M)
    if not (curve and curve[1] in CURVES or bits and "Modulus:" in said and 2048 <= int(bits[1]) <= 8192):
        raise ImageError(f"{path} has a key that machines do not take: {said.splitlines()[0].rstrip(':')}{f' {curve[1]}' if curve else ''}", "RSA of 2048 to 8192 bits, P-256 or P-384")
