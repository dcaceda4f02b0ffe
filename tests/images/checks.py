"""What building, signing and versions are held to, without a machine. Each case empties the folder that it makes its files in."""

import contextlib
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import shutil
import subprocess
import socket
import sys
import tempfile

import changes
import softhsm
from appliance import free_port, within
from fleet import ROOT

sys.path.insert(0, str(ROOT / "images"))
from hallmark_images import ImageError, chunks, disk, kernel, lock, recipe, run, sign, signers  # noqa: E402

LEASE = "usr/lib/hallmark-provision/lease"


def fresh(folder: pathlib.Path) -> pathlib.Path:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return folder


@contextlib.contextmanager
def refused(words: str):
    """What is done in it is refused in these words; gives the refusal."""
    said: list[ImageError] = []
    try:
        yield said
    except ImageError as error:
        assert re.search(words, str(error)), f"{words!r} was expected: {error}"
        said.append(error)
    else:
        raise AssertionError(f"{words!r} was expected, and nothing was refused")


def made_disk(folder: pathlib.Path) -> pathlib.Path:
    """A disk with the image.json that names it: two chunks and a half, two of them the same."""
    disk = fresh(folder) / "disk.img"
    disk.write_bytes(b"\1" * chunks.CHUNK * 2 + b"\2" * (chunks.CHUNK // 2))
    named = {"sha256": hashlib.sha256(disk.read_bytes()).hexdigest()}
    (folder / "image.json").write_text(json.dumps({"name": "edge", "version": "1.0.0", "files": {"disk.img": named}}))
    return disk


def manifest_of_the_disk(folder):
    """a manifest is signed for the disk that image.json names, and for no other; a damaged chunk is written anew"""
    keys, disk, out = changes.stranger(fresh(folder) / "keys"), made_disk(folder / "image"), folder / "out"
    chunks.build(disk, keys, out)
    files = sorted(path.name for path in out.iterdir())
    listed = (out / "manifest").read_text().splitlines()[6:]
    assert len(listed) == 3 and files == sorted({*listed, "manifest", "manifest.sig"}), files
    (folder / "public.pem").write_bytes(subprocess.run(["openssl", "x509", "-in", keys / "db.crt", "-noout", "-pubkey"], check=True, stdout=subprocess.PIPE).stdout)
    verify = ["openssl", "dgst", "-sha256", "-verify", folder / "public.pem", "-signature", out / "manifest.sig", out / "manifest"]
    subprocess.run(verify, check=True, stdout=subprocess.DEVNULL)

    changes.flip(out / listed[0], 4711)
    chunks.build(disk, keys, out)
    assert all(hashlib.sha256((out / name).read_bytes()).hexdigest() == name for name in listed)

    before = (out / "manifest").read_bytes()
    changes.flip(disk, 4711)
    with refused("is not the disk of .*image.json: that names the SHA-256 [0-9a-f]{64}, and it has [0-9a-f]{64}"):
        chunks.build(disk, keys, out)
    assert (out / "manifest").read_bytes() == before


def key_of_the_certificate(folder):
    """a key that is not the certificate's signs nothing, be it in a file or in a token"""
    keys, other = changes.stranger(fresh(folder) / "keys"), changes.stranger(folder / "other")
    in_token = softhsm.token(folder / "token", keys)
    for good in (keys, in_token):
        sign.check(good)
        shutil.copyfile(other / "db.crt", good / "db.crt")
        with refused("is not the key of .*db.crt: their public keys have the SHA-256 [0-9a-f]{64} and [0-9a-f]{64}"):
            sign.check(good)
        with refused("is not the key of"):
            chunks.build(made_disk(folder / "image"), good, folder / "out")
    assert not (folder / "out").exists()


def no_pin_is_shown(folder):
    """a signature that fails shows no PIN"""
    keys = changes.stranger(fresh(folder) / "keys")
    in_token, file = softhsm.token(folder / "token", keys), folder / "file"
    file.write_text("signed\n")
    sign.file(file, in_token, folder / "file.sig")
    (in_token / "db.key").write_text(softhsm.uri("98765"))
    with refused("openssl failed") as said:
        sign.file(file, in_token, folder / "file.sig")
    shown = f"{said[0]}\n{said[0].next_step}"
    assert "98765" not in shown and "pin-value=…" in shown, shown


def modules_in_order(folder):
    """a module comes behind what it depends on and what it wants before (softdep), where there is such a module"""
    base = fresh(folder) / "lib/modules/6.1"
    base.mkdir(parents=True)
    (base / "modules.builtin").write_text("kernel/built.ko\n")
    words = {
        "r8169": ["depends=mdio,built", "softdep=pre: realtek missing-one", "softdep=post: later"], "mdio": ["depends="], "realtek": ["depends=mdio", "softdep=pre: r8169"],
        "later": ["depends="], "erofs": ["depends=libcrc32c", "softdep=pre: crypto-crc32c post: later"], "libcrc32c": ["depends="],
    }
    for name, said in words.items():
        (base / f"{name}.ko").write_bytes(b"\x7fELF\0" + b"\0".join(word.encode() for word in [*said, "license=GPL"]) + b"\0")
    found = kernel.Kernel(folder, "6.1")

    def order(*names):
        return [path.stem for path in kernel.modules.ordered(found, list(names))]

    assert order("r8169") == ["mdio", "realtek", "r8169"], order("r8169")
    assert order("erofs", "mdio") == ["libcrc32c", "erofs", "mdio"], order("erofs", "mdio")
    with refused("kernel 6.1 has no module missing_one"):
        order("missing-one")


def the_same_hardware(folder):
    """an image that is installed over the network starts from each disk that the netboot image writes to, and has its cards"""
    lists = recipe.tomllib.loads((ROOT / "images/hardware.toml").read_text())
    netboot = set(recipe.read("provision").initrd_modules)
    assert {"r8169", "mlx5_core", "mpt3sas", "mmc_block", "sdhci_pci"} <= netboot, netboot
    for name in ("edge", "appliance"):
        image = recipe.read(name)
        assert netboot >= set(lists["disks"]) <= set(image.initrd_modules), image.initrd_modules
        assert netboot >= set(lists["network_cards"]) <= set(image.root_modules), image.root_modules


def order_of_versions(folder):
    """hallmark-image takes 1.0.0 for newer than 1.0.0-rc1"""
    program = (ROOT / "images/slots/usr/sbin/hallmark-image").read_text()
    functions = "\n".join(re.findall(r"^(?:sortable|newer)\(\) \{.*\}$", program, re.M))
    rising = ["0.9.9", "1.0.0-alpha", "1.0.0-rc1", "1.0.0-rc2", "1.0.0-rc10", "1.0.0", "1.0.0-1", "1.0.0-2", "1.0.1-rc1", "1.0.1", "1.10.0"]
    for older, newer in zip(rising, rising[1:]):
        for first, second, taken in ((newer, older, True), (older, newer, False), (newer, newer, True)):
            done = subprocess.run(["sh", "-euc", f'{functions}\nif newer "$1" "$2"; then exit 0; else exit 1; fi', "sh", first, second])
            assert (done.returncode == 0) == taken, (first, second)


def leases(folder):
    """what udhcpc hands on: an address with a gateway outside of it, another address on renewal, routes of option 121, an MTU"""
    root = fresh(folder) / "root"
    for place, source in (("bin/busybox", shutil.which("busybox")), (LEASE, ROOT / "images/provision/overlay" / LEASE)):
        (root / place).parent.mkdir(parents=True)
        shutil.copy(source, root / place)
    for name in ("etc", "run"):
        (root / name).mkdir()
    (root / "test").write_text(f"""
export PATH=/bin interface=eth0
/bin/busybox --install -s /bin
ip link add eth0 type veth && ip link set eth0 up && ip link set veth0 up
step() {{ echo "step"; env "$@" /{LEASE} "$event" || echo "failed"; ip -o address show dev eth0 scope global; ip route; ip link show eth0; cat /run/address /etc/resolv.conf; }}
event=deconfig; step A=
event=bound; step ip=192.0.2.7 mask=32 router="198.51.100.1 198.51.100.2" dns="192.0.2.53" domain=example.org
event=renew; step ip=192.0.2.7 mask=32 router=198.51.100.1 dns="192.0.2.53"
event=renew; step ip=10.0.5.9 mask=24 router=10.0.5.1 dns="10.0.5.2 10.0.5.3" mtu=1400
event=renew; step ip=10.0.5.9 mask=24 router=10.0.5.1 staticroutes="203.0.113.0/24 10.0.5.4 198.51.100.0/24 0.0.0.0 0.0.0.0/0 10.0.5.254"
event=deconfig; step A=
""")
    command = ["unshare", "--net", "chroot", root, "/bin/busybox", "sh", "/test"]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    _, first, bound, renewed, other, routed, none = done.stdout.split("step\n")
    assert "failed" not in done.stdout, done.stdout
    assert "inet " not in first and "default" not in first, first
    for lease in (bound, renewed):
        assert "inet 192.0.2.7/32" in lease and lease.count("inet ") == 1, lease
        assert re.search(r"^default via 198\.51\.100\.1 dev eth0 .*onlink", lease, re.M) and "198.51.100.2" not in lease, lease
        assert "192.0.2.7 on eth0" in lease and "nameserver 192.0.2.53" in lease, lease
    assert "search example.org" in bound and "mtu 1500" in bound, bound
    assert "inet 10.0.5.9/24" in other and other.count("inet ") == 1 and "mtu 1400" in other, other
    assert re.search(r"^default via 10\.0\.5\.1 ", other, re.M) and "198.51.100.1" not in other, other
    for route in ("default via 10.0.5.254 ", "203.0.113.0/24 via 10.0.5.4 ", "198.51.100.0/24 dev eth0"):
        assert f"\n{route}" in routed, routed
    assert "inet " not in none and "default" not in none, none


def keys_are_finished(folder):
    """images/keys that was stopped before vars.fd makes that when it is called again; a path is relative to who calls"""
    tools = fresh(folder) / "tools"
    (tools / "bin").mkdir(parents=True)
    program = tools / "bin/virt-fw-vars"

    def keys(does: str) -> subprocess.CompletedProcess:
        program.write_text(f"#!/bin/sh\n{does}\n")
        program.chmod(0o755)
        command = [ROOT / "images/keys", "set"]
        return subprocess.run(command, cwd=folder, env=os.environ | {"HALLMARK_IMAGE_TOOLS": str(tools)}, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)

    # The program is given "-i FILE -o FILE …".
    made = sorted(f"{name}.{kind}" for name in ("PK", "KEK", "db") for kind in ("key", "crt"))
    assert keys('echo half >"$4"; exit 1').returncode == 1
    found = {path.name: path.read_bytes() for path in (folder / "set").iterdir()}
    assert sorted(found) == made, found.keys()
    again = keys('echo whole >"$4"')
    assert again.returncode == 0, again.stderr
    assert (folder / "set/vars.fd").read_text() == "whole\n"
    assert all((folder / "set" / name).read_bytes() == content for name, content in found.items())
    assert keys("exit 1").returncode == 0, "nothing is missing"
    assert not (ROOT / "set").exists()
    (folder / "set/vars.fd").unlink()
    (folder / "set/PK.crt").unlink()
    without = keys('echo whole >"$4"')
    assert without.returncode == 1 and "has no PK.crt" in without.stderr, without.stderr


def certificate(file: pathlib.Path, *key: str) -> pathlib.Path:
    command = ["openssl", "req", "-x509", "-nodes", "-days", "10", "-subj", "/CN=signer", "-newkey", *key, "-keyout", file.with_suffix(".key"), "-out", file]
    subprocess.run([str(word) for word in command], check=True, stderr=subprocess.DEVNULL)
    return file


def signers_of_a_site(folder):
    """certificates of a site's image-signers are those that machines take; a private key, and whatever nobody would read, is refused"""
    place, beside = fresh(folder) / signers.FOLDER, folder / "beside"
    signers.check(place)
    place.mkdir(parents=True)
    beside.mkdir()
    taken = [["rsa:2048"], ["rsa:4096"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-256"], ["ec", "-pkeyopt", "ec_paramgen_curve:P-384"]]
    for number, key in enumerate(taken):
        shutil.copyfile(certificate(beside / f"{number}.pem", *key), place / f"{number}.pem")
    signers.check(place)
    one = (beside / "0.pem").read_bytes()
    bad = [
        ("short.pem", certificate(beside / "short.pem", "rsa:1024").read_bytes(), r"machines do not take: Public-Key: \(1024 bit\)"),
        ("curve.pem", certificate(beside / "curve.pem", "ec", "-pkeyopt", "ec_paramgen_curve:P-521").read_bytes(), "machines do not take: .*secp521r1"),
        ("edwards.pem", certificate(beside / "edwards.pem", "ed25519").read_bytes(), "machines do not take: ED25519"),
        ("private.pem", one + (beside / "0.key").read_bytes(), "has a private key"), ("two.pem", one + one, "has CERTIFICATE, CERTIFICATE instead of one"),
        ("none.pem", b"none\n", "has no PEM instead of one"), ("new.crt", one, "is not a file NAME.pem"), ("image.pem", one, "which the build writes itself"),
    ]
    for name, content, words in bad:
        (place / name).write_bytes(content)
        with refused(words):
            signers.check(place)
        (place / name).unlink()
    signers.check(place)


def says_that_no_baseline_is_computed(folder):
    """a build without firmware variables says so, before anything else is built; one with them does not"""
    keys, site = changes.stranger(fresh(folder) / "keys"), folder / "site"
    site.mkdir()
    for name in ("agent.toml", "bundle.pem"):
        (site / name).touch()
    for is_told in (True, False):
        command = [ROOT / "images/build", "edge", "--site", site, "--keys", keys, "--packages", folder, "--out", folder / "out"]
        done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
        assert done.returncode == 1 and "has 0 packages hallmark-agent instead of one" in done.stderr, done.stderr
        assert ("no baseline is computed: " in done.stderr) == is_told, done.stderr
        (keys / "vars.fd").touch()


def what_a_build_lacks(folder):
    """a missing key, a missing tool, a stale lock file and too small a partition are told with their codes and next steps"""
    keys, empty = changes.stranger(fresh(folder) / "keys"), folder / "empty"
    empty.mkdir()
    sign.check(keys)
    run("true")
    stale, large = dataclasses.replace(recipe.read("edge"), folder=empty), folder / "root.img"
    (empty / "packages.lock").write_text(f"busybox-static 1:0.0.1-none {'0' * 64} busybox-static_0.0.1-none_amd64.deb 4711\n")
    large.write_bytes(bytes(disk.MIB))
    disk.build(folder / "disk.img", [("root-a", disk.ROOT, 1, large)], "test")
    with open(large, "ab") as octets:
        octets.write(b"\0")
    cases = [
        (lambda: sign.check(empty), "HM-IMAGE-0057: the Secure Boot key .*/db.key is missing", "images/keys .* makes a set for a lab"),
        (lambda: run("no-such-program"), "HM-IMAGE-0056: the program no-such-program is missing", "scripts/deps images"),
        (lambda: lock.fetch(stale), "HM-IMAGE-0058: the lock file is stale: the archive does not give busybox-static=1:0.0.1-none", "images/build lock edge"),
        (lambda: disk.build(folder / "disk.img", [("root-a", disk.ROOT, 1, large)], "test"), "HM-IMAGE-0059: root.img has 1048577 octets, its partition root-a 1048576", "in the recipe"),
    ]
    for does, told, next_step in cases:
        with refused(told) as said:
            does()
        assert re.search(next_step, said[0].next_step), said[0].next_step


def modules_that_do_not_load(folder):
    """the appliance says why a PKCS#11 module does not load, and takes one that does"""
    program = (ROOT / "images/appliance/overlay/usr/sbin/hallmark-appliance").read_text()
    functions, _, _ = program.partition('\ncase "${1:-} $#" in')
    # Short paths: what is said ends after a line.
    folder = pathlib.Path(tempfile.mkdtemp(prefix="hm"))
    text, configuration = folder / "text.so", folder / "softhsm2.conf"
    text.write_text("no module\n")
    configuration.write_text(f"directories.tokendir = {folder}\n")
    for module, told in (("/usr/lib/softhsm/libsofthsm2.so", None), (folder / "missing.so", "cannot open shared object file"), (text, "file too short|invalid ELF header")):
        again = 'stop() { tell "$@"; exit 1; }\nhas_module'
        settings = f"secrets={folder} module={module}; export SOFTHSM2_CONF={configuration}"
        done = subprocess.run(["sh", "-c", f"{functions}\n{settings}\n{again}"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert done.returncode == (1 if told else 0), done.stdout
        assert re.search(f"HM-IMAGE-0054: the module {module} does not load or start: .*({told})", done.stdout) if told else not done.stdout, done.stdout


def free_pair() -> int:
    """A port that nobody has, and neither the next one."""
    while True:
        port = free_port()
        with contextlib.suppress(OSError), socket.socket() as beside:
            beside.bind(("127.0.0.1", port + 1))
            return port


def a_tpm_in_lockout(folder):
    """the appliance waits for the end of its TPM's lockout, and does not ask for a PIN that the TPM would not seal"""
    program = (ROOT / "images/appliance/overlay/usr/sbin/hallmark-appliance").read_text()
    functions, _, _ = program.partition('\ncase "${1:-} $#" in')
    subprocess.run(["swtpm_setup", "--tpm2", "--tpmstate", fresh(folder / "tpm"), "--overwrite"], check=True, stdout=subprocess.DEVNULL)
    port = free_pair()
    device = f"swtpm:host=127.0.0.1,port={port}"
    server = ["--server", f"type=tcp,port={port},bindaddr=127.0.0.1", "--ctrl", f"type=tcp,port={port + 1},bindaddr=127.0.0.1", "--flags", "not-need-init,startup-clear"]
    simulator = subprocess.Popen(["swtpm", "socket", "--tpm2", "--tpmstate", f"dir={folder / 'tpm'}", *server])
    (folder / "systemd-creds").write_text(f'#!/bin/sh\nexec /usr/bin/systemd-creds --tpm2-device={device} "$@"\n')
    (folder / "systemd-creds").chmod(0o755)
    spoken = {"env": os.environ | {"TPM2TOOLS_TCTI": device}, "cwd": folder, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}

    def tpm(*words: str, check=True):
        subprocess.run([f"tpm2_{words[0]}", *words[1:]], check=check, **spoken)
        # No resource manager stands before this TPM.
        subprocess.run(["tpm2_flushcontext", "-t"], check=True, **spoken)

    def appliance(does: str) -> subprocess.CompletedProcess:
        of_the_test, settings = 'stop() { tell "$@"; exit 1; }', f"secrets={folder} kept={folder} pin=12345678 PATH={folder}:$PATH"
        done = subprocess.run(["sh", "-c", f"{functions}\n{of_the_test}\n{settings}\n{does}"], stdin=subprocess.DEVNULL, **spoken)
        subprocess.run(["tpm2_flushcontext", "-t"], check=True, **spoken)
        return done

    try:
        within(30, "the TPM simulator", lambda: subprocess.run(["tpm2_pcrextend", f"7:sha256={5:064x}"], **spoken).returncode == 0)
        tpm("dictionarylockout", "--setup-parameters", "--max-tries=1", "--recovery-time=1000", "--lockout-recovery-time=1000")
        assert (sealed := appliance(f"seal_pin {folder / 'pin.cred'}")).returncode == 0, sealed.stdout
        assert (released := appliance("unseal_or_ask")).returncode == 0 and not released.stdout, released.stdout
        (folder / "secret").write_text("secret")
        tpm("createprimary", "-C", "o", "-c", "primary")
        tpm("create", "-C", "primary", "-p", "good", "-u", "public", "-r", "private", "-i", "secret")
        tpm("load", "-C", "primary", "-u", "public", "-r", "private", "-c", "object")
        tpm("unseal", "-c", "object", "-p", "bad", check=False)
        kept = appliance("unseal_or_ask")
        assert kept.returncode == 1 and b"HM-IMAGE-0049: the TPM does not release the PIN: " in kept.stdout and b"lockout" in kept.stdout, kept.stdout
        assert b"? " not in kept.stdout, kept.stdout
        new = appliance(f"seal_pin {folder / 'other.cred'}")
        assert new.returncode == 1 and b"HM-IMAGE-0047: the TPM does not seal the PIN: " in new.stdout and b"locked out needs time" in new.stdout, new.stdout
        tpm("dictionarylockout", "--clear-lockout")
        assert (released := appliance("unseal_or_ask")).returncode == 0 and not released.stdout, released.stdout
    finally:
        simulator.terminate()
        simulator.wait(30)


CASES = [
    manifest_of_the_disk, key_of_the_certificate, no_pin_is_shown, modules_in_order, the_same_hardware, order_of_versions, leases, keys_are_finished,
    signers_of_a_site, says_that_no_baseline_is_computed, what_a_build_lacks, modules_that_do_not_load, a_tpm_in_lockout,
]
