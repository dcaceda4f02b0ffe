"""The images beside the edge's, built again: the server appliance's and the netboot image. Each takes minutes, since nothing is kept but packages."""

import appliance
import netboot
import twice


def appliance_is_the_same(fleet):
    """the server appliance, built again years later in another folder: the same octets"""
    built = appliance.of(fleet)
    twice.same(fleet, "appliance", built.site, built.image, twice.DISK)


def netboot_is_the_same(fleet):
    """the netboot image, built again years later in another folder: the same octets"""
    site = fleet.folder / "site-1.0.0"
    built = netboot.build(fleet, "netboot-twice", site / "bundle.pem")
    twice.same(fleet, "provision", fleet.folder / "site-netboot-twice", built, {"image.efi", "baseline.json", "baseline.signed.json"})


CASES = [appliance_is_the_same, netboot_is_the_same]
