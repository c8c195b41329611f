//! The values that a pickle builds: an arena, because pickles share and fill values after they are first mentioned.
//!
//! A value may hold itself; whoever follows references bounds the depth and the number of steps.

use super::tensor::Dtype;

/// Index of a value in [`Values`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(u32);

/// One value; text borrows from the pickle.
#[derive(Clone, Debug)]
pub(super) enum Value<'a> {
    None,
    Bool,
    Int(i64),
    Float,
    Text(&'a str),
    Bytes,
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Set,
    Dict(Vec<(Id, Id)>),
    /// A class or function by name; never looked up.
    Global {
        module: &'a str,
        name: &'a str,
    },
    /// An instance of a class we do not know: inert. Its attributes are there if the pickle gave some.
    Record {
        class: Id,
        attributes: Option<Id>,
    },
    Storage(Storage<'a>),
    /// Boxed: the arena has room for the largest kind of value everywhere.
    Tensor(Box<View<'a>>),
}

/// Raw elements in the archive.
#[derive(Clone, Copy, Debug)]
pub(super) struct Storage<'a> {
    pub(super) dtype: Dtype,
    /// Name of the member below `data/`.
    pub(super) key: &'a str,
    pub(super) elements: usize,
}

/// A tensor: elements of a storage at an offset and strides, all in elements.
#[derive(Clone, Debug)]
pub(super) struct View<'a> {
    pub(super) storage: Storage<'a>,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// Text of a file in a message: short, and nothing that a terminal would obey.
pub fn shown(text: &str) -> String {
    const LENGTH: usize = 80;
    let mut shown: String = text.chars().take(LENGTH).flat_map(char::escape_debug).collect();
    if text.chars().nth(LENGTH).is_some() {
        shown.push_str("...");
    }
    shown
}

/// All values of a pickle.
pub(super) struct Values<'a> {
    all: Vec<Value<'a>>,
    root: Id,
}

/// Values while the pickle runs.
pub(super) struct Arena<'a> {
    all: Vec<Value<'a>>,
    limit: usize,
}

impl<'a> Arena<'a> {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            all: Vec::new(),
            limit,
        }
    }

    /// None when the limit is reached.
    pub(super) fn add(&mut self, value: Value<'a>) -> Option<Id> {
        let id = u32::try_from(self.all.len())
            .ok()
            .filter(|_| self.all.len() < self.limit)?;
        self.all.push(value);
        Some(Id(id))
    }

    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.all[id.0 as usize]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value<'a> {
        &mut self.all[id.0 as usize]
    }

    pub(super) fn finish(self, root: Id) -> Values<'a> {
        Values { all: self.all, root }
    }
}

impl<'a> Values<'a> {
    pub(super) fn root(&self) -> Id {
        self.root
    }

    pub(super) fn get(&self, id: Id) -> &Value<'a> {
        &self.all[id.0 as usize]
    }

    /// What a message calls the value.
    pub(super) fn describe(&self, id: Id) -> String {
        match self.get(id) {
            Value::None => "nothing".to_owned(),
            Value::Bool => "a truth value".to_owned(),
            Value::Int(_) => "an integer".to_owned(),
            Value::Float => "a float".to_owned(),
            Value::Text(_) => "text".to_owned(),
            Value::Bytes => "bytes".to_owned(),
            Value::Tuple(_) => "a tuple".to_owned(),
            Value::List(_) => "a list".to_owned(),
            Value::Set => "a set".to_owned(),
            Value::Dict(_) => "a dictionary".to_owned(),
            Value::Global { module, name } => format!("the name {}.{}", shown(module), shown(name)),
            Value::Record { class, .. } => match self.get(*class) {
                Value::Global { module, name } => {
                    format!("an object of class {}.{}", shown(module), shown(name))
                }
                _ => "an object of an unnamed class".to_owned(),
            },
            Value::Storage(_) => "a bare storage".to_owned(),
            Value::Tensor(_) => "a tensor".to_owned(),
        }
    }

    /// The entry of a dictionary, the last of equal keys as in Python.
    pub(super) fn entry(&self, entries: &[(Id, Id)], key: &str) -> Option<Id> {
        let named = |id: Id| matches!(self.get(id), Value::Text(text) if *text == key);
        entries
            .iter()
            .rev()
            .find(|&&(k, _)| named(k))
            .map(|&(_, value)| value)
    }

    /// The same, without entries that are None.
    pub(super) fn some_entry(&self, entries: &[(Id, Id)], key: &str) -> Option<Id> {
        self.entry(entries, key)
            .filter(|&id| !matches!(self.get(id), Value::None))
    }

    /// The entries of a dictionary or of a record's attributes; none of anything else.
    pub(super) fn entries(&self, id: Id) -> &[(Id, Id)] {
        match self.get(id) {
            Value::Dict(entries) => entries,
            Value::Record {
                attributes: Some(attributes),
                ..
            } => match self.get(*attributes) {
                Value::Dict(entries) => entries,
                _ => &[],
            },
            _ => &[],
        }
    }
}
