"""Letters for tests of the dead letter package."""

from datetime import UTC, datetime

from dlq.letter import Origin, compose
from dlq.reasons import from_findings
from dlq.sealing import Sealer
from mappings.findings import Finding

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
VIN = "LSVAL41Z882104202"
BODY = (
    '{"basicInfo":{"vin":"LSVAL41Z882104202","vehicleplatenumber":"沪A12345","contact":"王小二"}}'.encode()
    + b"\x00\xff"
)
SEALER = Sealer(b"k" * 32)
ORIGIN = Origin(
    "collect",
    "b1",
    "440106000000001/2026.ndjson",
    "440106000000001",
    "44",
    "strict",
    "0.1.0",
    "2026-03-01T00:00:00.000000+00:00",
)
FINDINGS = (
    Finding("VIN_CHECK_DIGIT", "reject", "vin", VIN, "5"),
    Finding("DATE_ORDER", "reject", "settledate", "2018-01-01", "2018-02-01"),
)


def letter(number=0, *, origin=ORIGIN, findings=FINDINGS, **changes):
    given = {
        "stage": "judge",
        "reasons": from_findings(findings),
        "body": BODY,
        "source_key": f"{'ab' * 32}:{number}",
        "offset": number * 100,
        "dialect": "lcippro",
        "mapping": "1",
        "record_key": f"44|440106000000001|R{number}",
        "vin": VIN,
        "intake": number,
    }
    return compose(origin, SEALER, **(given | changes))
