//! Tables of what is taken and what is refused, with the exact words of each refusal.

use super::*;

#[test]
fn durations_are_taken_and_printed_in_their_largest_unit() {
    let ms = Duration::from_millis;
    let table = [
        ("250ms", ms(250), "250ms"),
        ("10s", ms(10_000), "10s"),
        ("5m", ms(300_000), "5m"),
        ("24h", ms(86_400_000), "1d"),
        ("30d", ms(30 * 86_400_000), "30d"),
        ("1500us", Duration::from_micros(1_500), "1500us"),
        ("1500ms", ms(1_500), "1500ms"),
        ("90s", ms(90_000), "90s"),
        ("60s", ms(60_000), "1m"),
        ("0s", ms(0), "0s"),
        ("0d", ms(0), "0s"),
        ("007s", ms(7_000), "7s"),
        ("36500d", ms(36_500 * 86_400_000), "36500d"),
    ];
    for (text, value, shown) in table {
        assert_eq!(parse_duration(text), Ok(value), "{text}");
        assert_eq!(show_duration(value).to_string(), shown, "{text}");
        assert_eq!(parse_duration(shown), Ok(value), "{shown} is read back");
    }
}

#[test]
fn wrong_durations_say_why() {
    let units = "us, ms, s, m, h, d";
    let table = [
        ("", "it is empty; write for example `10s`".to_owned()),
        ("10", format!("the unit is missing: write it right behind `10`, one of {units}")),
        ("0", format!("the unit is missing: write it right behind `0`, one of {units}")),
        ("s", "it must begin with a number, not with `s`; write for example `10s`".to_owned()),
        ("+1s", "it must begin with a number, not with `+1s`; write for example `10s`".to_owned()),
        ("-1s", "it must not be negative".to_owned()),
        ("10 s", "it must have no space in it: number and unit stand together".to_owned()),
        (" 10s", "it must have no space in it: number and unit stand together".to_owned()),
        (" ", "it must have no space in it: number and unit stand together".to_owned()),
        ("10s\n", "it must have no space in it: number and unit stand together".to_owned()),
        ("1.5s", "it must be a whole number; use a smaller unit, `1500ms` for 1.5 seconds".to_owned()),
        ("10S", format!("`S` is not a unit here; use one of {units}")),
        ("10sec", format!("`sec` is not a unit here; use one of {units}")),
        ("1h30m", format!("`h30m` is not a unit here; use one of {units}")),
        ("1ns", format!("`ns` is not a unit here; use one of {units}")),
        ("1.s", format!("`.s` is not a unit here; use one of {units}")),
        ("1µs", format!("`µs` is not a unit here; use one of {units}")),
        ("1\u{7}s", format!("`\\u{{7}}s` is not a unit here; use one of {units}")),
        ("36501d", "it is too large; the largest is 36500d, a hundred years".to_owned()),
        ("99999999999999999999s", "it is too large; the largest is 36500d, a hundred years".to_owned()),
        ("18446744073709551615d", "it is too large; the largest is 36500d, a hundred years".to_owned()),
    ];
    for (text, why) in table {
        assert_eq!(parse_duration(text).map_err(|error| error.to_string()), Err(why), "{text:?}");
    }
}

#[test]
fn ranges() {
    let range: DurationRange = "200ms..5m".parse().unwrap();
    assert_eq!((range.low(), range.high()), (Duration::from_millis(200), Duration::from_secs(300)));
    assert_eq!(range.to_string(), "200ms..5m");
    assert!("1s..1s".parse::<DurationRange>().is_ok());
    let table = [
        ("5m", "a range needs two durations with `..` between, for example `200ms..5m`"),
        ("5m-6m", "a range needs two durations with `..` between, for example `200ms..5m`"),
        ("5m..200ms", "the range is backwards: the smaller end comes first"),
        ("..5m", "the first end of the range: it is empty; write for example `10s`"),
        ("5m..", "the second end of the range: it is empty; write for example `10s`"),
        (
            "5m..=6m",
            "the second end of the range: it must begin with a number, not with `=6m`; write for example `10s`",
        ),
        (
            "1s .. 2s",
            "the first end of the range: it must have no space in it: number and unit stand together",
        ),
    ];
    for (text, why) in table {
        assert_eq!(
            text.parse::<DurationRange>().map_err(|error| error.to_string()),
            Err(why.to_owned()),
            "{text:?}"
        );
    }
}

#[test]
fn byte_sizes() {
    let table = [
        ("0B", 0, "0B"),
        ("1B", 1, "1B"),
        ("1024B", 1_024, "1KiB"),
        ("64KiB", 65_536, "64KiB"),
        ("64KB", 64_000, "64KB"),
        ("64MB", 64_000_000, "64MB"),
        ("64MiB", 64 << 20, "64MiB"),
        ("1GB", 1_000_000_000, "1GB"),
        ("2TiB", 2 << 40, "2TiB"),
        ("18446744073709551615B", u64::MAX, "18446744073709551615B"),
    ];
    for (text, bytes, shown) in table {
        assert_eq!(text.parse(), Ok(ByteSize(bytes)), "{text}");
        assert_eq!(ByteSize(bytes).to_string(), shown, "{text}");
        assert_eq!(shown.parse(), Ok(ByteSize(bytes)), "{shown} is read back");
    }
    let units = "B, KB, MB, GB, TB, KiB, MiB, GiB, TiB";
    let refused = [
        ("64", format!("the unit is missing: write it right behind `64`, one of {units}")),
        ("64kb", format!("`kb` is not a unit here; use one of {units}")),
        ("64K", format!("`K` is not a unit here; use one of {units}")),
        ("64M", format!("`M` is not a unit here; use one of {units}")),
        ("99999999TiB", "it is too large; the largest is 16383PiB, all that 64 bits can count".to_owned()),
    ];
    for (text, why) in refused {
        assert_eq!(text.parse::<ByteSize>().map_err(|error| error.to_string()), Err(why), "{text:?}");
    }
}

#[test]
fn rates() {
    for (text, count, per_s) in [("100/s", 100, 1), ("5/m", 5, 60), ("1/h", 1, 3_600), ("9/d", 9, 86_400)] {
        let rate: Rate = text.parse().unwrap();
        assert_eq!((rate.count(), rate.per().as_secs(), rate.to_string().as_str()), (count, per_s, text));
    }
    let table = [
        ("0/s", "a rate must be at least 1"),
        ("100", "the unit is missing: write it right behind `100`, one of /s, /m, /h, /d"),
        ("100/", "`/` is not a unit here; use one of /s, /m, /h, /d"),
        ("100s", "`s` is not a unit here; use one of /s, /m, /h, /d"),
        ("100/sec", "`/sec` is not a unit here; use one of /s, /m, /h, /d"),
        ("/s", "it must begin with a number, not with `/s`; write for example `100/s`"),
        ("4294967296/s", "it is too large; the largest is 4294967295"),
    ];
    for (text, why) in table {
        assert_eq!(text.parse::<Rate>().map_err(|error| error.to_string()), Err(why.to_owned()), "{text:?}");
    }
}

#[test]
fn percentages() {
    let table = [
        ("0%", 0, "0%"),
        ("5%", 50_000, "5%"),
        ("0.25%", 2_500, "0.25%"),
        ("0.0001%", 1, "0.0001%"),
        ("12.50%", 125_000, "12.5%"),
        ("100%", 1_000_000, "100%"),
        ("100.0%", 1_000_000, "100%"),
    ];
    for (text, ppm, shown) in table {
        let percent: Percent = text.parse().unwrap();
        assert_eq!((percent.as_ppm(), percent.to_string().as_str()), (ppm, shown), "{text}");
        assert_eq!(shown.parse(), Ok(percent));
    }
    let refused = [
        ("", "it is empty; write for example `5%`"),
        ("5", "the unit is missing: write it right behind `5`, one of %"),
        ("%", "it must begin with a number, not with `%`; write for example `5%`"),
        (".5%", "it is empty; write for example `5%`"),
        ("5.%", "`.%` is not a unit here; use one of %"),
        ("5.x%", "`.x%` is not a unit here; use one of %"),
        ("5 %", "it must have no space in it: number and unit stand together"),
        ("-5%", "it must not be negative"),
        ("-5.5%", "it must not be negative"),
        ("100.0001%", "it is too large; the largest is 100%"),
        ("101%", "it is too large; the largest is 100%"),
        ("4294967297%", "it is too large; the largest is 100%"),
        ("0.00001%", "it must have at most four digits after the point"),
        ("5%%", "`%%` is not a unit here; use one of %"),
        ("5percent", "`percent` is not a unit here; use one of %"),
    ];
    for (text, why) in refused {
        assert_eq!(
            text.parse::<Percent>().map_err(|error| error.to_string()),
            Err(why.to_owned()),
            "{text:?}"
        );
    }
}

#[test]
fn nothing_panics_and_what_is_printed_is_read_back() {
    let mut rng = crate::rng::Rng::seeded(11);
    let alphabet: Vec<char> = "0123456789999.%/smhduKMGTiB -+µ\u{0}日..".chars().collect();
    for _ in 0..50_000 {
        let text: String = (0..rng.below(9)).map(|_| alphabet[rng.below(alphabet.len())]).collect();
        if let Ok(value) = parse_duration(&text) {
            assert_eq!(parse_duration(&show_duration(value).to_string()), Ok(value), "{text:?}");
        }
        reads_back::<DurationRange>(&text);
        reads_back::<ByteSize>(&text);
        reads_back::<Rate>(&text);
        reads_back::<Percent>(&text);
    }
}

fn reads_back<T: FromStr<Err = UnitError> + fmt::Display + PartialEq + fmt::Debug>(text: &str) {
    if let Ok(value) = text.parse::<T>() {
        assert_eq!(value.to_string().parse(), Ok(value), "{text:?}");
    }
}
