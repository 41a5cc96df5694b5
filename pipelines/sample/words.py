"""What repair shops write: jobs with parts and hours, complaints, names. All persons and companies are invented."""

from __future__ import annotations

from typing import NamedTuple


class Spare(NamedTuple):
    """A part as it stands on a bill."""

    name: str
    code: str
    quantities: tuple[str, ...]


class Job(NamedTuple):
    """A repair project with the complaint that leads to it, its hours, and the parts that it takes."""

    project: str
    complaint: str
    hours: tuple[str, ...]
    spares: tuple[Spare, ...]


def _job(project: str, complaint: str, hours: str, *spares: tuple[str, str, str]) -> Job:
    rows = tuple(Spare(name, code, tuple(quantities.split())) for name, code, quantities in spares)
    return Job(project, complaint, tuple(hours.split()), rows)


JOBS: tuple[Job, ...] = (
    _job(
        "更换机油机滤",
        "例行保养",
        "0.5 0.8 1",
        ("机油", "OIL5W30-4L", "1 4 4.5 5"),
        ("机油滤清器", "06J115403Q", "1"),
    ),
    _job("更换空调滤芯", "空调有异味", "0.3 0.5", ("空调滤芯", "1107681-00-A", "1")),
    _job(
        "更换前刹车片", "制动时有尖叫声", "1 1.2 1.5", ("前刹车片", "34116858047", "1"), ("制动液", "DOT4-1L", "1 0.5")
    ),
    _job("更换后刹车片", "制动距离变长", "1 1.5", ("后刹车片", "4B0698451", "1")),
    _job("更换火花塞", "冷车启动困难", "1 1.5 2", ("火花塞", "99917022190", "4 6")),
    _job("更换蓄电池", "无法启动", "0.5 0.8", ("蓄电池", "6-QW-60", "1")),
    _job("四轮定位", "行驶跑偏", "1.5 2"),
    _job("轮胎动平衡", "高速方向盘抖动", "0.5 1", ("平衡块", "BAL-10G", "2 4 6")),
    _job("更换轮胎", "轮胎鼓包", "0.5 1", ("轮胎", "205/55R16", "1 2 4"), ("气门嘴", "TR413", "1 2 4")),
    _job("更换正时皮带", "发动机异响", "3 4 5.5", ("正时皮带", "06A109119C", "1"), ("张紧轮", "06B109243F", "1")),
    _job(
        "发动机检修", "发动机故障灯亮", "2 4 6 8.5", ("点火线圈", "22448-JA00C", "1 4"), ("密封垫", "11044-EN20A", "1")
    ),
    _job(
        "变速箱油更换", "换挡顿挫", "1.5 2 3", ("变速箱油", "ATF-WS-1L", "4 6 7.5"), ("变速箱滤芯", "35330-0W021", "1")
    ),
    _job("三元催化器更换", "尾气检测不合格", "2 2.5", ("三元催化器", "18160-R40-J00", "1")),
    _job("钣金喷漆(左前门)", "左前门刮擦", "4 6 8", ("底漆", "P565-895", "0.3 0.5"), ("清漆", "D8135", "0.2 0.4")),
    _job("更换减震器", "过坎异响", "2 3", ("前减震器", "4M0413031", "2"), ("顶胶", "5Q0412331", "2")),
    _job("冷却系统清洗", "水温偏高", "1 1.5", ("冷却液", "G12-1.5L", "2 4"), ("节温器", "25500-2E000", "1")),
    _job("空调系统检修", "空调不制冷", "1 2 3", ("制冷剂", "R134A", "0.5 0.6"), ("冷凝器", "97606-F2000", "1")),
    _job("动力电池检测", "续航里程下降", "1 2"),
    _job("更换雨刮片", "雨刮刮不干净", "0.2 0.3", ("雨刮片", "8W1998002", "1 2")),
    _job("更换灯泡", "近光灯不亮", "0.3 0.5", ("灯泡H7", "N10320101", "1 2")),
)

STEMS = (  # noqa: SIM905 - a list of thirty literals reads worse
    "安达 宏远 顺通 捷诚 万里 鑫源 车之友 博达 恒信 永固 驰风 新锐 同心 金轮 远征 长青 瑞祥 百顺 飞驰 德泰 "
    "中正 畅行 双龙 华安 荣光 易修 天行 众合 安途 宝通"
).split()
KINDS = ("汽车修理有限公司", "汽车维修服务有限公司", "汽车服务有限公司", "汽修厂", "汽车养护中心")
SURNAMES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨"
CHAIN = "途虎养车工场店"
LONG_STORY = "客户反映冷车启动后发动机怠速不稳，行驶中偶发加速无力，经检查发现进气系统积碳严重，"
"""Half of a story that is told too often: repeated, it is longer than any store allows."""
