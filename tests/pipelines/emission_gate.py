"""A gate with I stations, M stations and the environment department, for tests of the emission loop."""

from __future__ import annotations

from row_gate import Gate, record, vin

REPORT = "110105112609011315501011"


def inspection(report=REPORT, *, serial=1, day="2026-09-01", passed=False):
    return {
        "InspectionDataID": int(report[-6:]), "InspectionNum": "1", "InspectionReportNo": report, "VLPN": "京A12345",
        "VLPNColor": "1", "VIN": vin(serial), "InspectionNature": "01", "InspectionKind": "1", "InspectionWay": "1",
        "InspectionTimes": "1", "DetectStartTime": f"{day} 13:15:50", "DetectEndTime": f"{day} 13:25:50",
        "StationCode": "1101050001", "FuelType": "A", "IUTYPE": "A", "VehicleID": "1", "VDCT": "1" if passed else "0",
    }  # fmt: skip


class Loop(Gate):
    """A gate whose shops' repairs and I stations' results lead to closures."""

    def outside(self, *payloads):
        self.put("outside", *payloads)
        return self.run("outside-in")

    def close(self, way, *overrides):
        stores = f"sqlite:///{self.folder}/stores"
        return self.run(way, f"source.of.repairs.url={stores}/province-11.db", *overrides)

    def repaired(self, *payloads):
        self.shop(*payloads)
        self.run("collect")

    def told(self):
        """Two failed tests with their repairs, and a repair that is none of emissions."""
        self.outside(inspection(), inspection("110105112609021315501012", serial=2, day="2026-09-02"))
        self.repaired(
            record("J1", fault=f"尾气超标 报告编码{{{REPORT}}}"),
            record("J2", serial=2, fault="尾气超标 联系 13812345678"),
            record("J3", serial=3),
        )


def corrected(loop):
    again = record("J1", fault=f"尾气超标，更换三元催化 报告编码{{{REPORT}}}")
    again["vehiclepartslist"] *= 2
    loop.repaired(again)


def mistaken(loop):
    """The VIN of J2 was a wrong one: its closure is taken back."""
    loop.repaired(record("J2", serial=4, fault="尾气超标"))
