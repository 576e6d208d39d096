//! Makes lines out of records. Everything that is not compared as it is stands here; README.md says why.

use std::collections::HashMap;
use std::path::Path;

use serde_json::{Map, Value};

pub struct Names {
    directory: String,
    ports: HashMap<u64, String>,
    /// How many ports have got a name of their own.
    count: usize,
}

impl Names {
    pub fn new(directory: &Path, peer: Option<u16>, refusing: Option<u16>) -> Self {
        let mut ports = HashMap::from([(0, "0".to_owned())]);
        ports.extend(peer.map(|port| (u64::from(port), "PEER".to_owned())));
        ports.extend(refusing.map(|port| (u64::from(port), "NOBODY".to_owned())));
        Self { directory: directory.to_string_lossy().into_owned(), ports, count: 0 }
    }

    /// A record as a line: who, what, then the rest by name.
    pub fn line(&mut self, record: &Value) -> String {
        let mut record = record.as_object().cloned().unwrap_or_default();
        let mut words = Vec::new();
        if record["who"] == "server" {
            record.remove("number");
        }
        for name in ["who", "ev", "call"] {
            if let Some(Value::String(word)) = record.remove(name) {
                words.push(word);
            }
        }
        words.extend(self.fields(&record));
        words.join(" ")
    }

    /// What of a snapshot is new since the last one.
    pub fn changes(&mut self, state: &Value, before: Option<&Value>) -> String {
        let state = state.as_object().cloned().unwrap_or_default();
        let changed = state.into_iter().filter(|(name, value)| match before {
            Some(before) => before[name] != *value,
            None => !value.is_null(),
        });
        let changed: Map<String, Value> = changed.filter(|(name, _)| name != "who").collect();
        self.fields(&changed).join(" ")
    }

    fn fields(&mut self, fields: &Map<String, Value>) -> Vec<String> {
        let mut words = Vec::new();
        for (name, value) in fields {
            let value = self.value(name, value);
            // What is absent in JavaScript is null or empty here.
            if !(value.is_null()
                && matches!(name.as_str(), "error" | "syscall" | "address" | "port" | "errno" | "hostname" | "errors"))
            {
                words.push(format!("{name}={value}"));
            }
        }
        words
    }

    fn value(&mut self, name: &str, value: &Value) -> Value {
        match value {
            Value::Number(number) if name.to_lowercase().ends_with("port") => {
                let number = number.as_u64().unwrap_or(0);
                Value::String(self.port(number))
            }
            Value::String(text) => Value::String(self.text(text)),
            Value::Array(list) => match &list[..] {
                [Value::String(address), port] if port.is_number() => {
                    Value::String(format!("{address}:{}", self.port(port.as_u64().unwrap_or(0))))
                }
                _ => list.iter().map(|item| self.value("", item)).collect(),
            },
            Value::Object(fields) => Value::String(self.fields(fields).join(" ")),
            other => other.clone(),
        }
    }

    /// Paths, and ports behind an address of this machine.
    fn text(&mut self, text: &str) -> String {
        let text = text.replace(&self.directory, "DIR");
        let mut parts = text.split("127.0.0.");
        let mut result = parts.next().unwrap_or_default().to_owned();
        for part in parts {
            let (host, rest) = split_digits(part);
            result += &format!("127.0.0.{host}");
            let port =
                rest.strip_prefix(':').map(split_digits).and_then(|(port, rest)| Some((port.parse().ok()?, rest)));
            match port {
                Some((port, rest)) => result += &format!(":{}{rest}", self.port(port)),
                None => result += rest,
            }
        }
        result
    }

    fn port(&mut self, port: u64) -> String {
        let count = &mut self.count;
        let name = self.ports.entry(port).or_insert_with(|| {
            *count += 1;
            format!("P{count}")
        });
        name.clone()
    }
}

fn split_digits(text: &str) -> (&str, &str) {
    text.split_at(text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len()))
}
