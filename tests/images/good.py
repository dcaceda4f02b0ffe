"""The image as it was built."""


def attests(fleet):
    """the image boots under Secure Boot, attests by its predicted baseline, and its workload gets an SVID"""
    with fleet.machine("good") as machine:
        machine.wait_for("root in root-a")
        machine.wait_for("attested id=spiffe://fleet.example/spire/agent/tpm2/")
        machine.wait_for("SPIFFE ID +spiffe://fleet.example/gateway")
        verdict = fleet.verdict()
        assert verdict.trusted, verdict
        assert "HM-POLICY-0126 the boot matches the baseline edge-1.0.0" in verdict.reasons, verdict
        assert "HM-POLICY-0102 Secure Boot is on" in verdict.reasons, verdict


CASES = [attests]
