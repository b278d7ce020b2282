//! Milliseconds since the Unix epoch and `datetime`, both ways, without floating point.
use pyo3::prelude::*;
use pyo3::types::{PyDateAccess, PyDateTime, PyTimeAccess, PyTzInfo, PyTzInfoAccess};

/// The last millisecond of the year 9999, after which `datetime` ends.
const LAST: u64 = 253_402_300_799_999;

const DAY: i64 = 86_400_000;

/// Days from 1970-01-01 in the proleptic Gregorian calendar. Years are counted from March, so
/// that the leap day is the last of its year and months follow one formula.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let leaps = year.div_euclid(4) - year.div_euclid(100) + year.div_euclid(400);
    // 719,468 days lie between 0000-03-01 and 1970-01-01.
    365 * year + leaps + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// The year, month and day that many days after 1970-01-01.
fn date(days: i64) -> (i64, i64, i64) {
    const CENTURIES: i64 = 146_097;
    let days = days + 719_468;
    let (era, day) = (days.div_euclid(CENTURIES), days.rem_euclid(CENTURIES));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, carry) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (era * 400 + year + carry, month, day)
}

/// Milliseconds since the epoch, rounded down. The datetime has to be aware.
pub(super) fn to_milliseconds(value: &Bound<'_, PyDateTime>) -> PyResult<i64> {
    let py = value.py();
    let utc = PyTzInfo::utc(py)?;
    let value = match value.get_tzinfo() {
        Some(zone) if zone.is(&*utc) => value.clone(),
        _ => value.call_method1("astimezone", (utc,))?.cast_into()?,
    };
    let day = days(value.get_year().into(), value.get_month().into(), value.get_day().into());
    let seconds = i64::from(value.get_hour()) * 3600
        + i64::from(value.get_minute()) * 60
        + i64::from(value.get_second());
    Ok(day * DAY + seconds * 1000 + i64::from(value.get_microsecond() / 1000))
}

/// An aware datetime in UTC, or None where `datetime` has no such time.
pub(super) fn from_milliseconds(
    py: Python<'_>,
    milliseconds: u64,
) -> PyResult<Option<Bound<'_, PyDateTime>>> {
    if milliseconds > LAST {
        return Ok(None);
    }
    let total = i64::try_from(milliseconds)?;
    let (year, month, day) = date(total / DAY);
    let rest = total % DAY;
    let byte = |number: i64| u8::try_from(number);
    let made = PyDateTime::new(
        py,
        i32::try_from(year)?,
        byte(month)?,
        byte(day)?,
        byte(rest / 3_600_000)?,
        byte(rest / 60_000 % 60)?,
        byte(rest / 1000 % 60)?,
        u32::try_from(rest % 1000 * 1000)?,
        Some(&*PyTzInfo::utc(py)?),
    )?;
    Ok(Some(made))
}
