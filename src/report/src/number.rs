//! Numbers as people and as `results.csv` read them.

use std::fmt;

/// What stands where there is no number.
pub(crate) const NONE: &str = "–";

/// A measure of 0..1 with three decimals, or [`NONE`].
pub(crate) struct Unit(pub f64);

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_finite() {
            write!(f, "{:.3}", self.0)
        } else {
            f.write_str(NONE)
        }
    }
}

/// A number of any size with three significant digits (`0.840`, `12.5`, `2e-4`), or [`NONE`].
pub(crate) struct Short(pub f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = self.0.abs();
        match size {
            _ if !self.0.is_finite() => f.write_str(NONE),
            0.0 => f.write_str("0"),
            _ if !(1e-3..99_999.5).contains(&size) => f.write_str(&exponential(self.0, 2)),
            _ => write!(
                f,
                "{:.*}",
                (2 - size.log10().floor() as i32).max(0) as usize,
                self.0
            ),
        }
    }
}

/// `2e-4`: a number with so many digits after the first, without the zeros that end them.
pub(crate) fn exponential(value: f64, digits: usize) -> String {
    let text = format!("{value:.digits$e}");
    match text.split_once('e') {
        Some((mantissa, "0")) => without_trailing_zeros(mantissa).to_owned(),
        Some((mantissa, exponent)) => format!("{}e{exponent}", without_trailing_zeros(mantissa)),
        None => text,
    }
}

/// A count with thin spaces between the thousands.
pub(crate) struct Count(pub u64);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = self.0.to_string();
        for (i, digit) in digits.chars().enumerate() {
            if i > 0 && (digits.len() - i).is_multiple_of(3) {
                f.write_str("\u{202f}")?;
            }
            write!(f, "{digit}")?;
        }
        Ok(())
    }
}

/// A span of seconds as `3 h 25 min`, `4 min 10 s` or `12.3 s`, or [`NONE`].
pub(crate) struct Duration(pub f64);

impl fmt::Display for Duration {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.0.is_finite() || self.0 < 0.0 {
            return f.write_str(NONE);
        }
        let whole = self.0.round() as u64;
        match (whole / 86_400, whole / 3600 % 24, whole / 60 % 60, whole % 60) {
            (0, 0, 0, _) => write!(f, "{:.1} s", self.0),
            (0, 0, min, s) => write!(f, "{min} min {s} s"),
            (0, h, min, _) => write!(f, "{h} h {min} min"),
            (d, h, ..) => write!(f, "{d} d {h} h"),
        }
    }
}

/// C's `%.{digits}g`: so many significant digits, trailing zeros dropped, an exponent where the number is below 1e-4
/// or has more digits than that before the point.
pub(crate) fn general(value: f64, digits: usize) -> String {
    if value.is_nan() {
        return "nan".to_owned();
    }
    if value.is_infinite() {
        return if value < 0.0 { "-inf" } else { "inf" }.to_owned();
    }
    let digits = digits.max(1);
    // The exponent must be that of the rounded number: 999999.5 is 1e+06 with six digits.
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        return format!("{}e{sign}{:02}", without_trailing_zeros(mantissa), exponent.abs());
    }
    let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
    without_trailing_zeros(&format!("{value:.decimals$}")).to_owned()
}

fn without_trailing_zeros(number: &str) -> &str {
    if number.contains('.') {
        number.trim_end_matches('0').trim_end_matches('.')
    } else {
        number
    }
}

#[cfg(test)]
mod tests {
    use super::{Count, Duration, Short, Unit, general};

    /// The right-hand sides are what C's printf("%.6g") writes.
    #[test]
    fn general_writes_as_c_does() {
        for (value, expected) in [
            (0.0, "0"),
            (1.0, "1"),
            (-2.5, "-2.5"),
            (0.01, "0.01"),
            (0.000_123_456_789, "0.000123457"),
            (0.000_012_345_678, "1.23457e-05"),
            (123_456.4, "123456"),
            (999_999.4, "999999"),
            (999_999.5, "1e+06"),
            (1_234_567.0, "1.23457e+06"),
            (1e100, "1e+100"),
            (0.612_345_67, "0.612346"),
            (f64::NAN, "nan"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            assert_eq!(general(value, 6), expected, "{value:e}");
        }
    }

    #[test]
    fn what_is_no_number_is_a_dash() {
        assert_eq!(Unit(f64::NAN).to_string(), "–");
        assert_eq!(Short(f64::INFINITY).to_string(), "–");
        assert_eq!(Duration(f64::NAN).to_string(), "–");
        assert_eq!(Unit(0.61249).to_string(), "0.612");
    }

    #[test]
    fn three_digits_are_enough_for_every_size() {
        for (value, expected) in [
            (0.84, "0.840"),
            (-1.0, "-1.00"),
            (12.345, "12.3"),
            (4321.0, "4321"),
            (0.001, "0.00100"),
            (0.000_05, "5e-5"),
            (1_250_000.0, "1.25e6"),
            (0.0, "0"),
        ] {
            assert_eq!(Short(value).to_string(), expected);
        }
    }

    #[test]
    fn counts_and_durations_read_well() {
        assert_eq!(Count(999).to_string(), "999");
        assert_eq!(Count(1_234_567).to_string(), "1\u{202f}234\u{202f}567");
        assert_eq!(Duration(9.97).to_string(), "10.0 s");
        assert_eq!(Duration(59.97).to_string(), "1 min 0 s");
        assert_eq!(Duration(3725.0).to_string(), "1 h 2 min");
        assert_eq!(Duration(200_000.0).to_string(), "2 d 7 h");
    }
}
