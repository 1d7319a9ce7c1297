"""$metadata as SAP's S/4 and other vendors write it: connected to without settings, read, followed, written back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tongqu.connectors.odata.settings import ODataSettings
from tongqu.connectors.odata.sink import ODataSink
from tongqu.connectors.odata.source import ODataSource
from tongqu.core.data import Dataset, Mode, Read, Split, Write, WriteMode
from tongqu.testing.pour import pour
from tongqu.testing.services.odata_api import ODataApi

S4 = """<?xml version="1.0" encoding="utf-8"?>
<edmx:Edmx Version="1.0" xmlns:edmx="http://schemas.microsoft.com/ado/2007/06/edmx"
 xmlns:m="http://schemas.microsoft.com/ado/2007/08/dataservices/metadata" xmlns:sap="http://www.sap.com/Protocols/SAPData">
<edmx:Reference Uri="https://s4.example/sap/opu/odata/IWFND/CATALOGSERVICE;v=2/Vocabularies(TechnicalName='x')/$value"
 xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"/>
<edmx:DataServices m:DataServiceVersion="2.0">
<Schema Namespace="ZQM_LOT_SRV" xml:lang="zh" sap:schema-version="1" xmlns="http://schemas.microsoft.com/ado/2008/09/edm">
 <EntityType Name="Lot" sap:label="检验批" sap:content-version="1">
  <Key><PropertyRef Name="Werks"/><PropertyRef Name="Prüflos"/></Key>
  <Property Name="Werks" Type="Edm.String" Nullable="false" MaxLength="4" sap:label="工厂"/>
  <Property Name="Prüflos" Type="Edm.String" Nullable="false" MaxLength="12" sap:display-format="UpperCase"/>
  <Property Name="数量" Type="Edm.Decimal" Precision="13" Scale="3" sap:unit="Einheit" sap:label="数量"/>
  <Property Name="Einheit" Type="Edm.String" MaxLength="3" sap:semantics="unit-of-measure"/>
  <Property Name="Adresse" Type="ZQM_LOT_SRV.Address" Nullable="false"/>
  <Property Name="GeändertAm" Type="Edm.DateTimeOffset" Precision="7" sap:updatable="false"/>
  <Property Name="Anlage" Type="Edm.DateTime" Precision="0" sap:display-format="Date" sap:creatable="false"
   sap:updatable="false"/>
  <NavigationProperty Name="to_Merkmal" Relationship="ZQM_LOT_SRV.Lot_Char" FromRole="A" ToRole="B"/>
 </EntityType>
 <EntityType Name="Char"><Key><PropertyRef Name="Prüflos"/><PropertyRef Name="Nr"/></Key>
  <Property Name="Prüflos" Type="Edm.String" Nullable="false"/><Property Name="Nr" Type="Edm.Int16" Nullable="false"/>
 </EntityType>
 <ComplexType Name="Address"><Property Name="Ort" Type="Edm.String"/><Property Name="Seit" Type="Edm.DateTime"/>
 </ComplexType>
 <ComplexType Name="Return"><Property Name="Ok" Type="Edm.Boolean"/></ComplexType>
 <Association Name="Lot_Char"><End Type="ZQM_LOT_SRV.Lot" Multiplicity="1" Role="A"/>
  <End Type="ZQM_LOT_SRV.Char" Multiplicity="*" Role="B"/></Association>
 <EntityContainer Name="ZQM_LOT_SRV_Entities" m:IsDefaultEntityContainer="true">
  <EntitySet Name="LotSet" EntityType="ZQM_LOT_SRV.Lot" sap:pageable="false" sap:content-version="1"/>
  <EntitySet Name="CharSet" EntityType="ZQM_LOT_SRV.Char"/>
  <AssociationSet Name="Lot_CharSet" Association="ZQM_LOT_SRV.Lot_Char"><End EntitySet="LotSet" Role="A"/>
   <End EntitySet="CharSet" Role="B"/></AssociationSet>
  <FunctionImport Name="Release" ReturnType="ZQM_LOT_SRV.Return" m:HttpMethod="POST" sap:action-for="ZQM_LOT_SRV.Lot">
   <Parameter Name="Prüflos" Type="Edm.String" Mode="In"/></FunctionImport>
  <FunctionImport Name="OpenLots" ReturnType="Collection(ZQM_LOT_SRV.Lot)" EntitySet="LotSet" m:HttpMethod="GET"/>
 </EntityContainer></Schema></edmx:DataServices></edmx:Edmx>"""
FOUR = """<edmx:Edmx Version="4.01" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="mes.model" Alias="m" xmlns="http://docs.oasis-open.org/odata/ns/edm">
 <EnumType Name="State" IsFlags="false"><Member Name="Open" Value="0"/><Member Name="Closed" Value="1"/></EnumType>
 <TypeDefinition Name="Weight" UnderlyingType="Edm.Decimal"/>
 <ComplexType Name="Place" OpenType="true"><Property Name="City" Type="Edm.String"/></ComplexType>
 <EntityType Name="Base" Abstract="true"><Key><PropertyRef Name="ID"/></Key>
  <Property Name="ID" Type="Edm.Guid" Nullable="false"/></EntityType>
 <EntityType Name="Order" BaseType="m.Base" HasStream="true"><Property Name="State" Type="m.State"/>
  <Property Name="Weight" Type="mes.model.Weight" Precision="12" Scale="variable"/>
  <Property Name="Place" Type="m.Place"/><Property Name="Tags" Type="Collection(Edm.String)" Nullable="false"/>
  <Property Name="Took" Type="Edm.Duration"/><Property Name="Drawing" Type="Edm.Stream"/>
  <Property Name="At" Type="Edm.DateTimeOffset" Precision="12"/>
  <NavigationProperty Name="Lines" Type="Collection(m.Line)" ContainsTarget="true"/></EntityType>
 <EntityType Name="Line"><Key><PropertyRef Name="Nr"/></Key><Property Name="Nr" Type="Edm.Int32" Nullable="false"/>
 </EntityType>
 <Action Name="Close" IsBound="true"><Parameter Name="it" Type="m.Order"/></Action>
 <Function Name="Late"><ReturnType Type="Collection(m.Order)"/></Function>
 <EntityContainer Name="C"><EntitySet Name="Orders" EntityType="m.Order"/><Singleton Name="Me" Type="m.Order"/>
  <FunctionImport Name="Late" Function="m.Late" EntitySet="Orders"/></EntityContainer>
</Schema></edmx:DataServices></edmx:Edmx>"""


class Vendor(ODataApi):
    """A service whose metadata is a vendor's own text."""

    def __init__(self, version: int, text: str, **more: Any):
        self.text = text
        super().__init__(version, **more)

    def _metadata(self) -> str:
        return self.text


@pytest.fixture
def lots() -> Iterator[Vendor]:
    """An S/4 service with three lots, one a page."""
    with Vendor(2, S4, csrf=True, page=1) as api:
        api.table("LotSet", {}, ("Werks", "Prüflos"))
        api.table("CharSet", {}, ("Prüflos", "Nr"))
        for number in range(1, 4):
            ticks = 1767225600000 + number * 86_400_000
            api.put(
                "LotSet", __metadata={"uri": f"{api.root}/LotSet(Werks='1710',Prüflos='{number}')", "type": "x"},
                Werks="1710", Prüflos=str(number), 数量=f"{number}.250", Einheit="kg",
                Adresse={"__metadata": {"type": "x"}, "Ort": "上海", "Seit": f"/Date({ticks})/"},
                GeändertAm=f"/Date({ticks}+0000)/", Anlage=f"/Date({ticks})/",
                to_Merkmal={"__deferred": {"uri": "x"}},
            )  # fmt: skip
        yield api


def rows(told: ODataSettings, name: str, **more: Any) -> list[dict[str, Any]]:
    with closing(ODataSource(told)) as source:
        (dataset,) = source.datasets([name])
        read = Read(dataset, Split("0", name, more.pop("spec", {})), **more)
        return pa.Table.from_batches([batch.rows for batch in source.read(read)]).to_pylist()


def test_an_s4_service_needs_no_settings(lots: Vendor) -> None:
    told = ODataSettings(base_url=lots.root)
    with closing(ODataSource(told)) as source:
        found = {dataset.name: dataset for dataset in source.datasets()}
        assert (list(found), found["LotSet"].title) == (["LotSet", "CharSet"], "检验批")
        assert found["LotSet"].key == ("Werks", "Prüflos")
        assert list(source.check())[-1] == "sample LotSet"
    first, *rest = rows(told, "LotSet")
    assert len(rest) == 2
    assert first == {
        "Werks": "1710", "Prüflos": "1", "数量": Decimal("1.250"), "Einheit": "kg",
        "Adresse": first["Adresse"], "GeändertAm": datetime(2026, 1, 2, tzinfo=UTC),
        "Anlage": datetime(2026, 1, 2),  # noqa: DTZ001  # it has no zone
    }  # fmt: skip
    assert '"Seit":"2026-01-02T00:00:00' in first["Adresse"].replace(" ", "")


def test_its_changes_are_followed_by_a_property_of_any_name(lots: Vendor) -> None:
    told = {"LotSet": {"incremental": {"cursor": "GeändertAm"}}}
    spec = {"after": {"cursor": "2026-01-03T00:00:00+00:00"}, "until": {"cursor": "2026-02-01T00:00:00+00:00"}}
    found = rows(
        ODataSettings.parse({"base_url": lots.root, "datasets": told}), "LotSet", spec=spec, mode=Mode.INCREMENTAL,
        cursor="GeändertAm",
    )  # fmt: skip
    assert [row["Prüflos"] for row in found] == ["2", "3"]
    asked = next(call.query["$filter"] for call in lots.calls if "$filter" in call.query)
    assert asked == "GeändertAm ge datetimeoffset'2026-01-03T00:00:00Z'"


def test_it_is_written_back_under_names_and_keys_of_its_own(lots: Vendor, tmp_path: Path) -> None:
    table = pa.table(
        {
            "plant": ["1710"] * 3, "lot": ["1", "3", "ü/'9'"],
            "qty": pa.array([Decimal("9.5"), Decimal("8.5"), Decimal("7.5")], pa.decimal128(13, 3)),
            "address": pa.array([{"Ort": "北京"}] * 3),
        }
    )  # fmt: skip
    fields = {"plant": "Werks", "lot": "Prüflos", "qty": "数量", "address": "Adresse"}
    told = {"base_url": lots.root, "datasets": {"LotSet": {"write": {"fields": fields}}}}
    dataset = Dataset("LotSet", table.schema, key=("plant", "lot"))
    write = Write("LotSet", dataset, WriteMode.UPSERT, "sync", "run 1", key=dataset.key, incremental=True)
    with closing(ODataSink(ODataSettings.parse(told))) as sink:
        sink.lodge(tmp_path)
        counts = pour(sink, write, [table])
        assert (counts.inserted, counts.updated, sink.quarantined()) == (1, 2, [])
    held = lots.rows["LotSet"]
    assert (held[("1710", "3")]["数量"], held[("1710", "3")]["Adresse"]) == ("8.500", {"Ort": "北京"})
    assert ("1710", "ü/'9'") in held
    assert held[("1710", "2")]["数量"] == "2.250"


def test_what_version_4_has_more_is_read(lots: Vendor) -> None:
    del lots
    with Vendor(4, FOUR) as api:
        api.table("Orders", {}, ("ID",))
        one = "005056a2-1234-1ed9-a0b1-000000000001"
        api.put("Orders", ID=one, State="Open", Weight=1.25, Place={"City": "苏州", "Gate": 3}, Tags=["a", "b"],
                Took="PT8H", At="2026-01-02T08:00:00.1234567+08:00")  # fmt: skip
        (found,) = rows(ODataSettings(base_url=api.root), "Orders")
    assert found == {
        "ID": one, "State": "Open", "Weight": Decimal("1.250000000000"), "Took": "PT8H",
        "Place": '{"City":"苏州","Gate":3}', "Tags": '["a","b"]',
        "At": datetime(2026, 1, 2, 0, 0, 0, 123456, tzinfo=UTC),
    }  # fmt: skip
