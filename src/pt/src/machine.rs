//! The machine that runs a pickle: it builds values and calls nothing.
//!
//! The allow-list is what [`Machine::reduce`] knows: tensors, ordered dictionaries, sizes. Every other call or instance
//! becomes an inert record of its class's name. Memory is bounded by the pickle's length and the limit on values:
//! an instruction adds at most one value, and collections move the stack's entries instead of copying them.

use std::collections::HashMap;

use super::tensor::Dtype;
use super::value::{Arena, Id, Storage, Value, Values, View, shown};
use super::{Limits, PtError};

/// Axes of a tensor; each tensor copies its shape, which many can share in the pickle.
const MAX_AXES: usize = 8;

/// Runs a pickle to its end and returns what it built.
pub(super) fn run<'a>(pickle: &'a [u8], limits: &Limits) -> Result<Values<'a>, PtError> {
    let mut machine = Machine {
        pickle,
        at: 0,
        limit: limits.values,
        arena: Arena::new(limits.values),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
    };
    loop {
        let opcode = machine.byte()?;
        if opcode == b'.' {
            let root = machine.pop()?;
            return Ok(machine.arena.finish(root));
        }
        machine.step(opcode)?;
    }
}

struct Machine<'a> {
    pickle: &'a [u8],
    at: usize,
    limit: usize,
    arena: Arena<'a>,
    stack: Vec<Id>,
    /// Heights of the stack at open marks; nothing below the last one can be reached.
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
}

type Step = Result<(), PtError>;

impl<'a> Machine<'a> {
    fn step(&mut self, opcode: u8) -> Step {
        match opcode {
            // Framing: the protocol's number, and the length of a frame.
            0x80 => self.take(1).map(|_| ()),
            0x95 => self.take(8).map(|_| ()),

            b'(' => {
                self.marks.push(self.stack.len());
                Ok(())
            }
            b'0' => self.pop().map(|_| ()),
            b'1' => self.pop_to_mark().map(|_| ()),
            b'2' => {
                let top = self.top()?;
                self.stack.push(top);
                Ok(())
            }

            b'q' => self.byte().and_then(|slot| self.remember(slot.into())),
            b'r' => self.word().and_then(|slot| self.remember(slot)),
            0x94 => self.remember(self.memo.len() as u32),
            b'h' => self.byte().and_then(|slot| self.recall(slot.into())),
            b'j' => self.word().and_then(|slot| self.recall(slot)),

            b'}' | b']' | b')' | 0x8f | b't' | 0x85..=0x87 | b'l' | b'd' | 0x91 => self.collection(opcode),
            b'a' | b'e' | b's' | b'u' | 0x90 => self.fill(opcode),
            b'c' | 0x93 | 0x81 | 0x92 | b'R' | b'b' | b'Q' => self.object(opcode),
            _ => self.scalar(opcode),
        }
    }

    fn scalar(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'N' => Value::None,
            0x88 | 0x89 => Value::Bool,
            b'J' => Value::Int(i64::from(self.word()? as i32)),
            b'K' => Value::Int(self.byte()?.into()),
            b'M' => Value::Int(u16::from_le_bytes(self.array()?).into()),
            0x8a => {
                let length = self.byte()?.into();
                self.long(length)?
            }
            0x8b => {
                let length = self.word()? as usize;
                self.long(length)?
            }
            b'G' => self.take(8).map(|_| Value::Float)?,
            b'X' => {
                let length = self.word()? as usize;
                self.text(length)?
            }
            0x8c => {
                let length = self.byte()?.into();
                self.text(length)?
            }
            0x8d => {
                let length = self.long_length()?;
                self.text(length)?
            }
            b'B' | b'T' => {
                let length = self.word()? as usize;
                self.take(length).map(|_| Value::Bytes)?
            }
            b'C' | b'U' => {
                let length = self.byte()?.into();
                self.take(length).map(|_| Value::Bytes)?
            }
            0x8e => {
                let length = self.long_length()?;
                self.take(length).map(|_| Value::Bytes)?
            }
            other => return Err(self.wrong(format!("instruction 0x{other:02x} is not used by checkpoints"))),
        };
        self.push(value)
    }

    fn collection(&mut self, opcode: u8) -> Step {
        let value = match opcode {
            b'}' => Value::Dict(Vec::new()),
            b']' => Value::List(Vec::new()),
            b')' => Value::Tuple(Vec::new()),
            0x8f => Value::Set,
            b't' => Value::Tuple(self.pop_to_mark()?),
            0x85..=0x87 => {
                let mut items = vec![];
                for _ in 0x85..=opcode {
                    items.push(self.pop()?);
                }
                items.reverse();
                Value::Tuple(items)
            }
            b'l' => Value::List(self.pop_to_mark()?),
            b'd' => Value::Dict(pairs(self.pop_to_mark()?)),
            _ => self.pop_to_mark().map(|_| Value::Set)?,
        };
        self.push(value)
    }

    /// Adds what is on top of the stack to the collection below it. What is added to anything but a list or a
    /// dictionary (a set, a subclass of either) is of no use to us and falls away.
    fn fill(&mut self, opcode: u8) -> Step {
        let items = match opcode {
            b'a' => vec![self.pop()?],
            b's' => {
                let value = self.pop()?;
                vec![self.pop()?, value]
            }
            _ => self.pop_to_mark()?,
        };
        let target = self.top()?;
        match (self.arena.get_mut(target), opcode) {
            (Value::List(list), b'a' | b'e') => list.extend(items),
            (Value::Dict(entries), b's' | b'u') => entries.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    fn object(&mut self, opcode: u8) -> Step {
        match opcode {
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push(Value::Global { module, name })
            }
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                match (self.arena.get(module), self.arena.get(name)) {
                    (&Value::Text(module), &Value::Text(name)) => self.push(Value::Global { module, name }),
                    _ => Err(self.wrong("a class whose name is not text".to_owned())),
                }
            }
            b'Q' => {
                let id = self.pop()?;
                let storage = self.storage(id)?;
                self.push(Value::Storage(storage))
            }
            b'R' => {
                let (arguments, callable) = (self.pop()?, self.pop()?);
                self.reduce(callable, arguments)
            }
            b'b' => {
                let state = self.pop()?;
                let target = self.top()?;
                // The attributes of a dictionary or a tensor are of no use to us.
                if let Value::Record { attributes, .. } = self.arena.get_mut(target) {
                    *attributes = Some(state);
                }
                Ok(())
            }
            _ => {
                let arguments = if opcode == 0x92 { 2 } else { 1 };
                for _ in 0..arguments {
                    self.pop()?;
                }
                let class = self.pop()?;
                self.push(Value::Record {
                    class,
                    attributes: None,
                })
            }
        }
    }

    /// The few calls that mean something; all others leave a record.
    fn reduce(&mut self, callable: Id, arguments: Id) -> Step {
        let record = Value::Record {
            class: callable,
            attributes: None,
        };
        let (Value::Global { module, name }, Value::Tuple(items)) =
            (self.arena.get(callable), self.arena.get(arguments))
        else {
            return self.push(record);
        };
        match (*module, *name, items.as_slice()) {
            ("collections", "OrderedDict", []) => self.push(Value::Dict(Vec::new())),
            (
                "torch._utils",
                "_rebuild_tensor_v2" | "_rebuild_tensor",
                &[storage, offset, shape, strides, ..],
            ) => {
                let view = self.view(storage, offset, shape, strides)?;
                self.push(Value::Tensor(Box::new(view)))
            }
            ("torch._utils", "_rebuild_parameter" | "_rebuild_parameter_with_state", &[tensor, ..])
            | ("torch", "Size", &[tensor]) => {
                self.stack.push(tensor);
                Ok(())
            }
            _ => self.push(record),
        }
    }

    /// ('storage', class, key, device, number of elements).
    fn storage(&self, id: Id) -> Result<Storage<'a>, PtError> {
        let parts = match self.arena.get(id) {
            Value::Tuple(items) => items.as_slice(),
            _ => &[],
        };
        let &[_, class, key, _, elements, ..] = parts else {
            return Err(self.wrong("a reference to something that is not a storage".to_owned()));
        };
        let dtype = match self.arena.get(class) {
            Value::Global {
                module: "torch",
                name,
            } => Dtype::of_storage(name)
                .ok_or_else(|| self.wrong(format!("tensors of type {} are not supported", shown(name)))),
            _ => Err(self.wrong("a storage of no known type".to_owned())),
        }?;
        match (self.arena.get(key), self.size(elements)) {
            (&Value::Text(key), Some(elements)) => Ok(Storage { dtype, key, elements }),
            _ => Err(self.wrong("a storage without name or length".to_owned())),
        }
    }

    fn view(&self, storage: Id, offset: Id, shape: Id, strides: Id) -> Result<View<'a>, PtError> {
        let wrong = || self.wrong("a tensor with unusable storage, offset, shape or strides".to_owned());
        let Value::Storage(storage) = self.arena.get(storage) else {
            return Err(wrong());
        };
        let sizes = |id: Id| match self.arena.get(id) {
            Value::Tuple(items) if items.len() <= MAX_AXES => {
                items.iter().map(|&item| self.size(item)).collect()
            }
            _ => None,
        };
        let view = || -> Option<View<'a>> {
            let (shape, strides): (Vec<usize>, Vec<usize>) = (sizes(shape)?, sizes(strides)?);
            let offset = self.size(offset)?;
            (shape.len() == strides.len()).then_some(View {
                storage: *storage,
                offset,
                shape,
                strides,
            })
        };
        view().ok_or_else(wrong)
    }

    fn size(&self, id: Id) -> Option<usize> {
        match self.arena.get(id) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
    }

    fn push(&mut self, value: Value<'a>) -> Step {
        let limit = self.limit;
        let id = self.arena.add(value).ok_or(PtError::Limit {
            what: "values",
            limit,
        })?;
        self.stack.push(id);
        Ok(())
    }

    fn top(&self) -> Result<Id, PtError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let top = self.stack.get(floor..).and_then(|s| s.last());
        top.copied()
            .ok_or_else(|| self.wrong("takes a value from an empty stack".to_owned()))
    }

    fn pop(&mut self) -> Result<Id, PtError> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_to_mark(&mut self) -> Result<Vec<Id>, PtError> {
        match self.marks.pop() {
            Some(mark) if mark <= self.stack.len() => Ok(self.stack.split_off(mark)),
            _ => Err(self.wrong("closes a mark that is not open".to_owned())),
        }
    }

    fn remember(&mut self, slot: u32) -> Step {
        let top = self.top()?;
        self.memo.insert(slot, top);
        Ok(())
    }

    fn recall(&mut self, slot: u32) -> Step {
        let known = self.memo.get(&slot).copied();
        self.stack
            .push(known.ok_or_else(|| self.wrong(format!("recalls slot {slot}, which is empty")))?);
        Ok(())
    }

    fn wrong(&self, problem: String) -> PtError {
        PtError::Pickle { at: self.at, problem }
    }

    fn take(&mut self, length: usize) -> Result<&'a [u8], PtError> {
        let taken = self.pickle.get(self.at..).and_then(|rest| rest.get(..length));
        let taken = taken.ok_or_else(|| self.wrong("ends within an instruction".to_owned()))?;
        self.at += length;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], PtError> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn byte(&mut self) -> Result<u8, PtError> {
        self.array::<1>().map(|[byte]| byte)
    }

    fn word(&mut self) -> Result<u32, PtError> {
        self.array().map(u32::from_le_bytes)
    }

    fn long_length(&mut self) -> Result<usize, PtError> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| self.wrong("a length beyond memory".to_owned()))
    }

    /// A little-endian two's complement integer; one of more than 64 bits has no use here and stays opaque.
    fn long(&mut self, length: usize) -> Result<Value<'a>, PtError> {
        let bytes = self.take(length)?;
        if bytes.len() > 8 {
            return Ok(Value::Bytes);
        }
        let negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = if negative { [0xff; 8] } else { [0; 8] };
        wide[..bytes.len()].copy_from_slice(bytes);
        Ok(Value::Int(i64::from_le_bytes(wide)))
    }

    fn text(&mut self, length: usize) -> Result<Value<'a>, PtError> {
        let bytes = self.take(length)?;
        // Python writes lone surrogates in a form that is not UTF-8; such text has no use here.
        Ok(std::str::from_utf8(bytes).map_or(Value::Bytes, Value::Text))
    }

    fn line(&mut self) -> Result<&'a str, PtError> {
        let rest = self.pickle.get(self.at..).unwrap_or(&[]);
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.ok_or_else(|| self.wrong("ends within a name".to_owned()))?)?;
        self.at += 1;
        std::str::from_utf8(line).map_err(|_| self.wrong("a name that is not UTF-8".to_owned()))
    }
}

/// Keys and values in turn; a key without a value falls away.
fn pairs(items: Vec<Id>) -> Vec<(Id, Id)> {
    items
        .as_chunks()
        .0
        .iter()
        .map(|&[key, value]| (key, value))
        .collect()
}
