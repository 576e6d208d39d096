//! `--name value` arguments.

use std::collections::HashMap;
use std::str::FromStr;

use crate::Failure;

/// The arguments of a command, by name. A name without a value is on.
#[derive(Debug, Default)]
pub(crate) struct Flags {
    values: HashMap<String, Vec<String>>,
}

impl Flags {
    pub(crate) fn parse(arguments: &[String]) -> Result<Self, Failure> {
        let mut values: HashMap<String, Vec<String>> = HashMap::new();
        let mut rest = arguments.iter().peekable();
        while let Some(argument) = rest.next() {
            let name = argument.strip_prefix("--").ok_or_else(|| format!("unexpected argument {argument:?}"))?;
            let value = rest.next_if(|next| !next.starts_with("--")).cloned().unwrap_or_default();
            values.entry(name.to_owned()).or_default().push(value);
        }
        Ok(Self { values })
    }

    /// Fails if there is a flag that is not one of these.
    pub(crate) fn expect_only(&self, known: &[&str]) -> Result<(), Failure> {
        match self.values.keys().find(|name| !known.contains(&name.as_str())) {
            Some(name) => Err(format!("unknown option --{name}; there are --{}", known.join(", --")).into()),
            None => Ok(()),
        }
    }

    pub(crate) fn is_on(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }

    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.values.get(name)?.last().map(String::as_str)
    }

    pub(crate) fn all(&self, name: &str) -> &[String] {
        self.values.get(name).map_or(&[], Vec::as_slice)
    }

    pub(crate) fn number<T: FromStr>(&self, name: &str) -> Result<Option<T>, Failure> {
        self.text(name)
            .map(|text| text.parse().map_err(|_| format!("--{name} wants a number, not {text:?}").into()))
            .transpose()
    }

    pub(crate) fn required<T: FromStr>(&self, name: &str) -> Result<T, Failure> {
        self.number(name)?.ok_or_else(|| format!("--{name} is missing").into())
    }

    /// The parts of a value that is separated by commas.
    pub(crate) fn list(&self, name: &str) -> Option<Vec<String>> {
        Some(self.text(name)?.split(',').filter(|part| !part.is_empty()).map(str::to_owned).collect())
    }

    pub(crate) fn cores(&self, name: &str) -> Result<Vec<usize>, Failure> {
        let parts = self.list(name).unwrap_or_default();
        parts.iter().map(|part| part.parse().map_err(|_| format!("{part:?} is no core").into())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flags(line: &str) -> Flags {
        Flags::parse(&line.split_whitespace().map(str::to_owned).collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn names_have_values_or_none() {
        let flags = flags("--quick --rounds 3 --only a,b --peer-path x=y --peer-path z=w");
        assert!(flags.is_on("quick") && !flags.is_on("slow"));
        assert_eq!(flags.number::<usize>("rounds").unwrap(), Some(3));
        assert_eq!(flags.list("only").unwrap(), ["a", "b"]);
        assert_eq!(flags.all("peer-path"), ["x=y", "z=w"]);
        assert!(flags.number::<usize>("only").is_err());
        assert!(flags.expect_only(&["quick", "rounds"]).is_err());
    }
}
