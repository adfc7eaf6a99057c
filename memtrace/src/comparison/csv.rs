//! The comparison as comma-separated values: hyperfine's columns, in seconds, then the memory in
//! bytes, then what parameters were.

use std::{collections::BTreeSet, io};

use super::{Comparison, Quantity, hyperfine::times};
use crate::report::escape::escape;

/// Writes a header and a line per command, RFC 4180.
///
/// # Errors
///
/// Those of the writer.
pub fn write(comparison: &Comparison, out: &mut dyn io::Write) -> io::Result<()> {
    let parameters: BTreeSet<&str> = comparison
        .commands
        .iter()
        .flat_map(|command| command.parameters.iter().map(|(name, _)| name.as_str()))
        .collect();
    for (index, command) in comparison.commands.iter().enumerate() {
        let mut fields = vec![("command".to_owned(), field(&command.text))];
        for (name, value) in times(comparison, command) {
            fields.push((name.to_owned(), number(value)));
        }
        for (name, quantity) in [
            ("peak_rss_bytes", Quantity::Peak),
            ("average_rss_bytes", Quantity::Average),
        ] {
            let statistics = comparison.statistics(command, quantity);
            let of = statistics.as_ref();
            for (which, value) in [
                ("mean", of.map(|of| of.mean)),
                ("stddev", of.and_then(|of| of.sigma)),
                ("median", of.map(|of| of.median)),
                ("min", of.map(|of| of.min as f64)),
                ("max", of.map(|of| of.max as f64)),
            ] {
                fields.push((format!("{name}_{which}"), number(value)));
            }
        }
        fields.push(("verdict".to_owned(), command.worst().name().to_owned()));
        for parameter in &parameters {
            let mut values = command.parameters.iter();
            let value = values.find(|(name, _)| name == parameter);
            fields.push((
                field(&format!("parameter_{parameter}")),
                value.map_or_else(String::new, |(_, value)| field(value)),
            ));
        }
        if index == 0 {
            line(fields.iter().map(|(name, _)| name), out)?;
        }
        line(fields.iter().map(|(_, value)| value), out)?;
    }
    Ok(())
}

fn line(fields: impl Iterator<Item = impl AsRef<str>>, out: &mut dyn io::Write) -> io::Result<()> {
    for (index, field) in fields.enumerate() {
        let comma = if index > 0 { "," } else { "" };
        write!(out, "{comma}{}", field.as_ref())?;
    }
    write!(out, "\r\n")
}

fn number(value: Option<f64>) -> String {
    value.map_or_else(String::new, |value| value.to_string())
}

/// Text on one line, in quotes where it has to be.
fn field(text: &str) -> String {
    let text = escape(text.as_bytes());
    if text.is_empty() || text.contains([',', '"']) {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::{super::testing::comparison, write};

    /// A line per command; quotes, commas and control characters do not break it.
    #[test]
    fn lines_have_fields() {
        let mut comparison = comparison();
        comparison.commands[1].text = "c \"d\",\n".to_owned();
        comparison.commands[1].parameters = vec![("n".to_owned(), "1,2".to_owned())];
        let mut out = Vec::new();
        write(&comparison, &mut out).expect("writing to memory");
        assert_eq!(
            String::from_utf8_lossy(&out),
            "command,mean,stddev,median,user,system,min,max,\
             peak_rss_bytes_mean,peak_rss_bytes_stddev,peak_rss_bytes_median,\
             peak_rss_bytes_min,peak_rss_bytes_max,\
             average_rss_bytes_mean,average_rss_bytes_stddev,average_rss_bytes_median,\
             average_rss_bytes_min,average_rss_bytes_max,verdict,parameter_n\r\n\
             a|b\\u{1b},0.1,0,0.1,0,0,0.1,0.1,\
             10485760,1048576,10485760,9437184,11534336,\
             5242880,0,5242880,5242880,5242880,exact,\r\n\
             \"c \"\"d\"\",\\n\",0.09,0,0.09,0,0,0.09,0.09,\
             20971520,0,20971520,20971520,20971520,\
             6291456,0,6291456,6291456,6291456,within,\"1,2\"\r\n"
        );
    }
}
