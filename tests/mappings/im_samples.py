"""Messages and rows of the emission loop, clean, and how they are judged."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from mappings.findings import profile
from mappings.judging import Context, Judgement
from mappings.reading import judge, read

RECEIVED = datetime(2024, 6, 1, 2, 0, tzinfo=UTC)
REPORT = "330100112108211315501011"
VIN = "LGXC16DF1A0069957"

STATION = {
    "id": "0f343b0931126a20f133d67c2b018a3b",
    "inspregid": "JH20240520000123",
    "VIN": VIN,
    "EngineNo": "710012345",
    "TsNo": "3307020001",
    "Teststime": "20240520093011",
    "Testetime": "20240520094102",
}
TEST = {
    **STATION,
    "License": "浙G12345",
    "LicenseType": "1",
    "LicenseCode": "02",
    "TestLineNo": "01",
    "OperatorName": "甲某",
    "DriverName": "乙某",
    "TestJudge": "1",
    "Temperature": "25.3",
    "Humidity": "61.0",
    "Atpressure": "101.2",
}
DIDLE = {
    **TEST,
    **{"FuelType": "A", "TestType": "2", "Samplingdepth": "400", "Gdszs": "2510", "Dszs": "780"},
    **{"Lambda": "1.02", "LambdaUp": "1.05", "LambdaDown": "0.95", "LambdaJudge": "1"},
    **{"LSCOResult": "0.42", "LSCOLimit": "0.6", "LSCOJudge": "1", "LSHCResult": 60, "LSHCLimit": 80, "LSHCJudge": 1},
    **{"HSCOResult": "0.2", "HSCOLimit": "0.3", "HSCOJudge": "1", "HSHCResult": 40, "HSHCLimit": 50, "HSHCJudge": 1},
}
LIGHTPROOF = {
    **TEST,
    **{"FuelType": "B", "TestType": "4", "SmokeK1": "0.8", "SmokeK2": "0.9", "SmokeK3": "1.0", "SmokeAvg": "0.9"},
    **{"SmokeKLimit": "1.2", "SmokeKJudge": "1", "IdleRev": "780", "RPM": "2800"},
}
LUGDOWN = {
    **TEST,
    **{"FuelType": "B", "TestType": "7", "ActMaxhp": "81.5", "MaxhpLimit": "60", "MaxhpJudge": "1"},
    **{"K100": "0.5", "SmokeK100Limit": "1.2", "SmokeK100Judge": "1"},
    **{"K80": "0.4", "SmokeK80Limit": "1.2", "SmokeK80Judge": "1"},
    **{"NOx80": "900", "NOx80Limit": "1500", "NOx80Judge": "1", "pcf": "1.01"},
}
VMAS = {
    **TEST,
    **{"FuelType": "A", "TestType": "6", "HC": "0.8", "HCLimit": "1.0", "HCJudge": "1"},
    **{"CO": "4.1", "COLimit": "5.0", "COJudge": "1", "NOx": "0.6", "NOxLimit": "0.7", "NOxJudge": "1"},
}
OBD = {
    **STATION,
    **{"odo": "48211", "ecu1": "发动机控制单元", "calid1": "37805-5A2", "cvn1": "A1B2C3D4"},
    **{"indicatorCheck": "1", "communicationCheck": "1", "communicationFalseRes": "", "faultCodes": "P0420,P0171"},
    **{"noReadyStatePros": "5,6", "mileage": "0", "operatorName": "甲某", "judge": "1", "isRecheck": "0"},
}
BODIES = {"DIDLE": DIDLE, "LIGHTPROOF": LIGHTPROOF, "LUGDOWN": LUGDOWN, "VMAS": VMAS, "OBD": OBD}

ROW = {
    "InspectionDataID": 7001,
    "InspectionNum": "1",
    "InspectionReportNo": REPORT,
    "VLPN": "浙A12345",
    "VLPNColor": "1",
    "VIN": VIN,
    "InspectionNature": "02",
    "InspectionKind": "1",
    "InspectionWay": "1",
    "InspectionTimes": 2,
    "DetectStartTime": "2021-08-21 13:05:50",
    "DetectEndTime": "2021-08-21T13:15:50",
    "StationCode": "330100001",
    "FuelType": "A",
    "IUTYPE": "C",
    "VehicleID": "9",
    "VDCT": "0",
    "EmissionStandard": "5",
    "OCHA": "1",
    "UseOfAuto": "A",
    "GAVType": "K33",
}
REPAIR = {
    "RepairVeID": "R1",
    "Costlistcode": "WX240521001",
    "test_no": REPORT,
    "Vehicleplatenumber": "浙A12345",
    "Vin": VIN,
    "repairmileage": "48211",
    "repairdate": "20210822",
    "settledate": "20210823",
    "companyname": "杭州某某汽车维修有限公司",
    "companyuniquecode": "330100000000001",
    "Faultdescription": "尾气超标",
    "uploader": "丙某",
    "uploadTime": "20210823101010",
    "RecallResult": "",
    "VehiclePartslist_M": [{"partsname": "三元催化器", "partsquantity": "1", "partscode": "1205100"}],
    "RepairProjectList_M": [{"repairproject": "更换三元催化器", "workinghours": "2.5"}],
}
MATCH = {
    "schema": "vingate.im-match/1",
    "office": "330100",
    "repair": "33|330100000000001|WX240521001",
    "vin": VIN,
    "repairvin": VIN,
    "reportvin": VIN,
    "reportno": REPORT,
    "companyuniquecode": "330100000000001",
    "repairdate": "2021-08-22",
    "settledate": "2021-08-23",
    "decidedby": "HZ-0417",
    "decidedat": "2021-08-30 10:00:00",
    "reason": "报告编号录入错误",
}
MSTATION = {
    "companyuniquecode": "M330100001",
    "companycode": "330100000000001",
    "name": "杭州某某汽车维修有限公司",
    "address": "某某路1号",
    "area": "330106",
    "from": "20200101",
    "to": "",
}
DROP = object()


def message(kind: str, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """The message of a station, members of its body replaced or dropped."""
    return {
        "jkid": f"uploadInspResult{kind}",
        "jksqm": "Geheim88",
        "data": [{"body": [changed(BODIES[kind], changes)]}],
    }


def changed(base: dict[str, Any], changes: dict[str, Any] | None) -> dict[str, Any]:
    return {name: value for name, value in {**base, **(changes or {})}.items() if value is not DROP}


def judged(payload: Any, name: str = "strict", dialect: str = "auto") -> Judgement:
    body = payload if isinstance(payload, bytes) else json.dumps(payload, default=str).encode()
    return judge(read(body, dialect), Context(profile(name), RECEIVED))


def told(judgement: Judgement) -> list[tuple[str, str, str]]:
    return [(one.code, one.severity, one.field) for one in judgement.findings]
