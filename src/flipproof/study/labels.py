"""Numbers as people read them, the same in table, figures and page."""

from __future__ import annotations

__all__ = ["decibels", "one_in", "percent", "rate", "seconds"]

_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def rate(bit_error_rate: float) -> str:
    """Writes a bit error rate as a power of ten.

    Example:
        >>> rate(0.0), rate(1e-3), rate(3e-2)
        ('0', '10⁻³', '3·10⁻²')
    """
    if not bit_error_rate:
        return "0"
    mantissa, _, exponent = f"{bit_error_rate:.2e}".partition("e")
    power = "10" + str(int(exponent)).translate(_SUPERSCRIPTS)
    digits = f"{float(mantissa):g}"
    return power if digits == "1" else f"{digits}·{power}"


def one_in(bit_error_rate: float) -> str:
    """Writes a positive bit error rate in words.

    Example:
        >>> one_in(1e-2), one_in(3e-2)
        ('one bit in 100', 'one bit in 33')
    """
    return f"one bit in {1 / bit_error_rate:,.0f}"


def decibels(value: float | None) -> str:
    """Writes decibels with one digit, a dash for None.

    Example:
        >>> decibels(24.04), decibels(None), decibels(float("inf"))
        ('24.0', '–', '∞')
    """
    if value is None:
        return "–"  # noqa: RUF001 (a dash, as tables have it)
    return "∞" if value == float("inf") else f"{value:.1f}"


def percent(fraction: float) -> str:
    """Writes a fraction in whole percent, telling a little from nothing and nearly all from all.

    Example:
        >>> percent(0.0), percent(0.004), percent(0.25), percent(0.999)
        ('0 %', '<1 %', '25 %', '>99 %')
    """
    if 0 < fraction < 0.01:
        return "<1 %"
    return ">99 %" if 0.99 < fraction < 1 else f"{100 * fraction:.0f} %"


def seconds(value: float) -> str:
    """Writes seconds with a unit that fits.

    Example:
        >>> seconds(0.0021), seconds(0.31), seconds(12.3)
        ('2.1 ms', '310 ms', '12 s')
    """
    if value >= 1:
        return f"{value:.0f} s" if value >= 10 else f"{value:.1f} s"
    milliseconds = 1000 * value
    return f"{milliseconds:.0f} ms" if milliseconds >= 10 else f"{milliseconds:.1f} ms"
