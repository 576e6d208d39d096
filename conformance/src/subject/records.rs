//! What the subject has to tell.

use serde_json::{Value, json};
use sockeye::Error;

#[derive(Default)]
pub struct Records {
    list: Vec<Value>,
    /// What the driver's own calls returned.
    answers: Vec<Value>,
    /// How write callbacks went: apart, since a future's place among the events is the program's affair.
    told: Vec<Value>,
    /// Callbacks stand among the events after all.
    is_in_order: bool,
    /// Data that may still grow: how it is cut into chunks is chance.
    data: Option<Data>,
    pub activity: u64,
}

struct Data {
    who: String,
    event: &'static str,
    length: usize,
    hash: u32,
}

impl Records {
    pub fn new(is_in_order: bool) -> Self {
        Self { is_in_order, ..Self::default() }
    }

    pub fn push(&mut self, record: Value) {
        self.flush();
        self.activity += 1;
        self.list.push(record);
    }

    pub fn push_answer(&mut self, answer: Value) {
        self.activity += 1;
        self.answers.push(answer);
    }

    /// The callback of that socket's write with this number.
    pub fn push_told(&mut self, who: &str, number: usize, error: Option<&Error>) {
        let told = json!({ "who": who, "number": number, "error": error.map(describe) });
        if self.is_in_order && who != "server" {
            return self.push(told);
        }
        self.activity += 1;
        self.told.push(told);
    }

    /// `length` is Node's: of text, in UTF-16 units.
    pub fn push_data(&mut self, who: &str, event: &'static str, length: usize, bytes: &[u8]) {
        self.activity += 1;
        if self.data.as_ref().is_none_or(|data| data.who != who || data.event != event) {
            self.flush();
        }
        let data = self.data.get_or_insert_with(|| Data { who: who.to_owned(), event, length: 0, hash: 0x811c_9dc5 });
        data.length += length;
        data.hash = bytes.iter().fold(data.hash, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    }

    pub fn take(&mut self) -> Value {
        use std::mem::take;
        self.flush();
        json!({ "records": take(&mut self.list), "answers": take(&mut self.answers), "told": take(&mut self.told) })
    }

    fn flush(&mut self) {
        if let Some(Data { who, event, length, hash }) = self.data.take() {
            self.list.push(json!({ "who": who, "ev": event, "len": length, "hash": hash }));
        }
    }
}

pub fn describe(error: &Error) -> Value {
    let errors: Vec<_> = error.errors().iter().map(Error::message).collect();
    let errors = if errors.is_empty() { Value::Null } else { json!(errors) };
    json!({
        "code": error.code(),
        "message": error.message(),
        "syscall": error.syscall(),
        "address": error.address(),
        "port": error.port(),
        "errno": error.errno().map(|errno| -errno),
        "hostname": error.hostname(),
        "errors": errors,
    })
}
