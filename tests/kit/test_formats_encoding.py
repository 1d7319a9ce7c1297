"""Encodings are detected from a sample, and texts become UTF-8 by blocks."""

from __future__ import annotations

import pytest

from tongqu.core.errors import InvalidSettingsError, ReadError
from tongqu.kit.formats.encoding import canonical, detect, marked, to_utf8

CHINESE = "编号,名称,检验结果\n1,六角螺栓,合格\n2,轴承,不合格\n"


@pytest.mark.parametrize(
    ("encoding", "found"),
    [
        ("utf-8", "utf-8"),
        ("utf-8-sig", "utf-8"),
        ("gbk", "gb18030"),
        ("utf-16", "utf-16-le"),
        ("utf-16-be", "utf-16-be"),
    ],
)
def test_chinese_text(encoding: str, found: str) -> None:
    sample = ("id,name\n" * 20 + CHINESE).encode(encoding)
    assert detect(sample, "x", whole=True) == found


def test_a_sample_that_ends_inside_a_character_is_no_error() -> None:
    assert detect("名称".encode()[:-1], "x") == "utf-8"
    assert detect((CHINESE * 3 + "好").encode("gb18030")[:-1], "x") == "gb18030"


def test_rare_names_do_not_hide_gb18030() -> None:
    text = "姓名,部门\n王喆,质量部\n李翀,生产部\n张垚,设备科\n"
    assert detect(text.encode("gb18030"), "x", whole=True) == "gb18030"


def test_what_is_not_clear_lists_candidates() -> None:
    with pytest.raises(ReadError) as caught:
        detect("이름,값\n한국어문자열,1\n서울특별시,2\n".encode("euc-kr"), "x.csv", whole=True)
    assert "gb18030" in caught.value.params["candidates"]


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030", "utf-16-le", "big5"])
@pytest.mark.parametrize("size", [1, 3, 1000])
def test_blocks_become_utf8(encoding: str, size: int) -> None:
    text = "編號,名稱\n一,二\n"
    data = text.encode(encoding)
    blocks = [data[i : i + size] for i in range(0, len(data), size)]
    assert b"".join(to_utf8(blocks, encoding)).decode() == text


def test_invalid_bytes_are_marked() -> None:
    (text,) = to_utf8([b"ok \xff end"], "gb18030")
    assert marked(text.decode()) == r"ok \xff end"


def test_names() -> None:
    assert [canonical(n) for n in ("GBK", "GB2312", "ascii", "UTF8")] == ["gb18030", "gb18030", "utf-8", "utf-8"]
    with pytest.raises(InvalidSettingsError, match="klingon"):
        canonical("klingon")


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_a_damaged_byte_does_not_make_another_encoding_of_it(encoding: str) -> None:
    text = "编号,名称,状态\n" + "".join(f"{number},轴承设备{number},合格品\n" for number in range(40))
    sample = bytearray(text.encode(encoding))
    sample[len(sample) // 2 : len(sample) // 2 + 1] = b"\xff"
    assert detect(bytes(sample), "x.csv", whole=True) == encoding
    with pytest.raises(ReadError, match="not clear"):
        detect(b"id,name\n1,ok\n2,\xff\xfe\x80bad\n", "x.csv", whole=True)
