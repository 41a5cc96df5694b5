"""Generated facts, registrations and dealers for the properties of routing."""

from datetime import date

from hypothesis import strategies as st

from mappings import divisions
from mappings.records import VehicleRegistration
from routing.dealers import Dealer, Dealers, Oem
from routing.facts import facts_of
from routing.homes import MemoryRegistrations

VINS = ("LSVAL41Z882104202", "LFV2A21KXE4176550", "LGBH52E01HY349442")
DAYS = st.dates(date(2025, 1, 1), date(2025, 3, 1))
PLATES = st.sampled_from(
    [
        "京A12345",
        "粤Z1234港",
        "新A12345",
        "沪A-1234领",
        "123456使",
        "KA12345",
        "WJ京12345",
        "临京A12345",
        "京A临12345",
        "N/A",
        "",
        "台A1",
    ]
)
COMPANIES = st.sampled_from(["440100000000001", "659001000000001", "31000001000", "881812000000001", ""])
SYSTEMS = st.sampled_from(["44", "31", "65", "bt", "oem-SVW", "oem-BYD", "oem-", "81", ""])
DESTINATIONS = [f"province-{key}" for key in ("44", "31", "65", "bt", "11")] + ["ministry"]
HELD = st.frozensets(st.sampled_from(DESTINATIONS), max_size=3)

DEALERS = Dealers(
    [
        Dealer(companycode="440100000000001", oem="SVW", valid_from=date(2025, 2, 1)),
        Dealer(companycode="659001000000001", oem="BYD", valid_from=date(2020, 1, 1)),
        Dealer(companycode="881812000000001", oem="SVW", valid_from=date(2020, 1, 1)),
    ],
    [Oem(oem="SVW", valid_from=date(2017, 7, 1)), Oem(oem="BYD", valid_from=date(2025, 1, 20))],
)

ENTRIES = st.builds(
    VehicleRegistration,
    vin=st.sampled_from(VINS),
    home=st.sampled_from([*divisions.PROVINCES, "81"]),
    valid_from=DAYS,
    valid_to=st.none() | st.just(date(2025, 3, 2)),
)
REGISTRATIONS = st.lists(ENTRIES, max_size=5).map(MemoryRegistrations)


@st.composite
def facts(draw):
    return facts_of(
        draw(st.sampled_from(VINS)),
        draw(PLATES | st.text(max_size=10)),
        draw(COMPANIES),
        draw(DAYS),
        draw(SYSTEMS),
        draw(st.sampled_from([1, 2])),
        dealers=DEALERS,
        held=draw(HELD),
    )
