"""People who do not exist: names from a short list, numbers that nobody was ever given."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

_FAMILIES = "赵钱孙李周吴郑王冯陈褚卫蒋沈韩杨"
_GIVEN = ("一", "示例", "样本", "模拟", "测试", "演示", "样", "示")


def _name(chance: Random, number: int) -> str:
    del number
    return chance.choice(_FAMILIES) + chance.choice(_GIVEN)


def _phone(chance: Random, number: int) -> str:
    """100 is no prefix of a mobile number."""
    del number
    return f"100{chance.randrange(10**8):08}"


def _id_card(chance: Random, number: int) -> str:
    """000000 is no place, so that the number is nobody's."""
    del number
    born = f"{chance.randint(1950, 2005)}{chance.randint(1, 12):02}{chance.randint(1, 28):02}"
    return f"000000{born}{chance.randrange(10**4):04}"


def _bank_card(chance: Random, number: int) -> str:
    """000000 is no bank."""
    del number
    return f"000000{chance.randrange(10**13):013}"


def _email(chance: Random, number: int) -> str:
    """RFC 2606: example.com is nobody's."""
    return f"user{number + 1}.{chance.randrange(100)}@example.com"


def _address(chance: Random, number: int) -> str:
    del number
    return f"示例市样本区模拟路{chance.randint(1, 999)}号"


PERSONS: dict[str, Callable[[Random, int], str]] = {
    "name": _name, "person": _name, "chinese_name": _name, "personal": _name, "phone": _phone, "mobile": _phone,
    "id_card": _id_card, "bank_card": _bank_card, "email": _email, "address": _address,
}  # fmt: skip
"""By what a mask or a profile calls the kind of data."""
