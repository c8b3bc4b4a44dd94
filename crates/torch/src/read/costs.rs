//! What a pickle costs to read, found out without building any of its objects: the opcodes move only counts of objects and
//! bytes around. A pickle of a kilobyte can describe gigabytes, by objects of one byte and by copies of copies.
//!
//! On the way, names that occur twice in a dictionary and the globals that the pickle refers to are noted.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, BufRead, Read};
use std::rc::Rc;

/// Bytes of memory that one object is taken for.
const OBJECT: u64 = 160;

/// Longest text whose content is looked at.
const TEXT: usize = 4096;

/// Functions that make tensors which are not dense.
const ODD: [(&str, &str); 7] = [
    ("_rebuild_qtensor", "quantized"),
    ("_rebuild_sparse_tensor", "sparse"),
    ("_rebuild_sparse_csr_tensor", "sparse"),
    ("_rebuild_nested_tensor", "nested"),
    ("_rebuild_meta_tensor_no_storage", "without values"),
    ("_rebuild_wrapper_subclass", "of a class of its own"),
    ("_unpickle_script_module", "in a script module"),
];

/// What was seen in the pickles of a file.
#[derive(Debug)]
pub(super) struct Costs {
    /// Bytes of memory that reading takes, at most.
    pub bytes: u64,
    /// Limit of `bytes`.
    limit: u64,
    /// The first name that occurs twice in a dictionary.
    pub twice: Option<String>,
    /// Module and name of every global.
    pub globals: BTreeSet<(String, String)>,
    /// The name of the last global.
    pub last_global: String,
    /// The first tensor that is not dense, and what it is.
    pub odd: Option<(String, &'static str)>,
}

/// Why a pickle is not read.
#[derive(Debug)]
pub(super) enum Refusal {
    /// It ends too early, or is no pickle.
    Damaged(String),
    /// It describes more than the limit.
    TooMuch,
    Io(io::Error),
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Damaged("the pickle is cut short".into()),
            _ => Self::Io(error),
        }
    }
}

/// An object: only its size, its text, and the keys of a dictionary.
#[derive(Debug, Clone, Default)]
struct Item {
    objects: u64,
    bytes: u64,
    text: Option<Rc<str>>,
    keys: Option<BTreeSet<Rc<str>>>,
}

#[derive(Default)]
struct Machine {
    stack: Vec<Item>,
    marks: Vec<usize>,
    memo: HashMap<u32, Item>,
}

impl Costs {
    pub fn new(limit: u64) -> Self {
        Self { bytes: 0, limit, twice: None, globals: BTreeSet::new(), last_global: String::new(), odd: None }
    }

    /// Goes through one pickle, up to behind its end.
    pub fn pickle(&mut self, from: &mut impl BufRead) -> Result<(), Refusal> {
        let mut machine = Machine::default();
        loop {
            let op = number(from, 1)? as u8;
            if op == b'.' {
                return Ok(());
            }
            self.step(&mut machine, op, from)?;
            if self.bytes > self.limit {
                return Err(Refusal::TooMuch);
            }
        }
    }

    fn step(&mut self, m: &mut Machine, op: u8, from: &mut impl BufRead) -> Result<(), Refusal> {
        match op {
            0x80 => drop(number(from, 1)?),
            0x95 => drop(number(from, 8)?),
            b'N' | 0x88 | 0x89 => self.scalar(m),
            b'K' => self.skip(m, from, 1)?,
            b'M' => self.skip(m, from, 2)?,
            b'J' => self.skip(m, from, 4)?,
            b'G' => self.skip(m, from, 8)?,
            b'I' | b'L' | b'F' | b'P' => {
                line(from)?;
                self.scalar(m);
            }
            b'V' => {
                let text = line(from)?;
                self.text(m, text);
            }
            0x8a => self.sized(m, from, 1)?,
            0x8b => self.sized(m, from, 4)?,
            b'U' | 0x8c | b'C' => self.sized(m, from, 1)?,
            b'T' | b'X' | b'B' => self.sized(m, from, 4)?,
            0x8d | 0x8e | 0x96 => self.sized(m, from, 8)?,
            b')' | b']' | 0x8f => self.scalar(m),
            b'}' => {
                self.bytes += OBJECT;
                m.stack.push(Item { objects: 1, keys: Some(BTreeSet::new()), ..Item::default() });
            }
            b'(' => {
                m.marks.push(m.stack.len());
                self.bytes += 8;
            }
            b't' | b'l' | 0x91 => {
                let items = m.above_mark()?;
                self.wrap(m, items);
            }
            b'd' => {
                let items = m.above_mark()?;
                let mut dict = Item { objects: 1, keys: Some(BTreeSet::new()), ..Item::default() };
                self.bytes += OBJECT;
                self.insert(&mut dict, items);
                m.stack.push(dict);
            }
            0x85..=0x87 => {
                let mut items = Vec::new();
                for _ in 0x84..op {
                    items.push(m.pop()?);
                }
                self.wrap(m, items);
            }
            b'a' => {
                let item = m.pop()?;
                m.top()?.take(item);
            }
            b'e' | 0x90 => {
                let items = m.above_mark()?;
                let top = m.top()?;
                items.into_iter().for_each(|item| top.take(item));
            }
            b's' => {
                let value = m.pop()?;
                let key = m.pop()?;
                let mut top = m.pop()?;
                self.insert(&mut top, vec![key, value]);
                m.stack.push(top);
            }
            b'u' => {
                let items = m.above_mark()?;
                let mut top = m.pop()?;
                self.insert(&mut top, items);
                m.stack.push(top);
            }
            b'0' => drop(m.pop()?),
            b'1' => drop(m.above_mark()?),
            b'2' => {
                let copy = m.top()?.copy();
                self.charge(&copy);
                m.stack.push(copy);
            }
            b'g' => {
                let index = index(&line(from)?)?;
                self.get(m, index)?;
            }
            b'h' => {
                let index = number(from, 1)? as u32;
                self.get(m, index)?;
            }
            b'j' => {
                let index = number(from, 4)? as u32;
                self.get(m, index)?;
            }
            b'p' => {
                let index = index(&line(from)?)?;
                self.put(m, index)?;
            }
            b'q' => {
                let index = number(from, 1)? as u32;
                self.put(m, index)?;
            }
            b'r' => {
                let index = number(from, 4)? as u32;
                self.put(m, index)?;
            }
            0x94 => {
                let index = m.memo.len() as u32;
                self.put(m, index)?;
            }
            b'c' => {
                let module = line(from)?;
                let name = line(from)?;
                self.global(&module, &name);
                self.text(m, name);
            }
            0x93 => {
                let name = m.pop()?;
                let module = m.pop()?;
                self.global(module.text.as_deref().unwrap_or("?"), name.text.as_deref().unwrap_or("?"));
                m.stack.push(Item { objects: 1, ..name });
            }
            b'Q' => {
                m.pop()?;
                self.scalar(m);
            }
            b'R' | 0x81 => {
                let arguments = m.pop()?;
                let callable = m.pop()?;
                let kind = callable.text.as_deref().and_then(|name| ODD.iter().find(|(odd, _)| *odd == name));
                if let (Some((_, kind)), None) = (kind, &self.odd) {
                    // A dictionary's key stands before its value.
                    let key = m.stack.last().and_then(|item| item.text.as_deref()).unwrap_or("?");
                    self.odd = Some((key.to_owned(), kind));
                }
                // A dictionary begins as a call without arguments.
                let keys = (arguments.objects <= 1).then(BTreeSet::new);
                m.stack.push(Item { keys, text: None, objects: arguments.objects + 1, ..arguments });
                self.bytes += OBJECT;
            }
            0x92 => {
                let keywords = m.pop()?;
                m.pop()?;
                let mut arguments = m.pop()?;
                arguments.take(keywords);
                m.stack.push(arguments);
            }
            b'b' => {
                let state = m.pop()?;
                let top = m.top()?;
                top.take(state);
                // The reader refreshes the copy in its memo.
                let copy = top.copy();
                self.charge(&copy);
            }
            other => {
                return Err(Refusal::Damaged(format!(
                    "the pickle has the byte {other:#04x} where an opcode is expected"
                )));
            }
        }
        Ok(())
    }

    fn scalar(&mut self, m: &mut Machine) {
        self.bytes += OBJECT;
        m.stack.push(Item { objects: 1, ..Item::default() });
    }

    fn text(&mut self, m: &mut Machine, text: String) {
        self.bytes += OBJECT + text.len() as u64;
        m.stack.push(Item { objects: 1, bytes: text.len() as u64, text: Some(text.into()), keys: None });
    }

    fn skip(&mut self, m: &mut Machine, from: &mut impl BufRead, bytes: usize) -> Result<(), Refusal> {
        number(from, bytes)?;
        self.scalar(m);
        Ok(())
    }

    /// Text, bytes or a long number behind its length.
    fn sized(&mut self, m: &mut Machine, from: &mut impl BufRead, bytes: usize) -> Result<(), Refusal> {
        let length = number(from, bytes)?;
        if self.bytes.saturating_add(length) > self.limit {
            return Err(Refusal::TooMuch);
        }
        let shown = length.min(TEXT as u64);
        let mut text = Vec::new();
        from.by_ref().take(shown).read_to_end(&mut text)?;
        let skipped = io::copy(&mut from.by_ref().take(length - shown), &mut io::sink())?;
        if text.len() as u64 + skipped != length {
            return Err(Refusal::Damaged("the pickle is cut short".into()));
        }
        self.bytes += OBJECT + length;
        let text = (length == shown).then(|| String::from_utf8(text).ok()).flatten();
        m.stack.push(Item { objects: 1, bytes: length, text: text.map(Into::into), keys: None });
        Ok(())
    }

    fn wrap(&mut self, m: &mut Machine, items: Vec<Item>) {
        let mut whole = Item { objects: 1, ..Item::default() };
        items.into_iter().for_each(|item| whole.take(item));
        self.bytes += OBJECT;
        m.stack.push(whole);
    }

    fn insert(&mut self, dict: &mut Item, items: Vec<Item>) {
        for (position, item) in items.into_iter().enumerate() {
            if position % 2 == 0
                && let (Some(text), Some(keys)) = (&item.text, &mut dict.keys)
                && !keys.insert(text.clone())
            {
                self.twice.get_or_insert_with(|| text.to_string());
            }
            dict.take(item);
        }
    }

    fn charge(&mut self, copy: &Item) {
        self.bytes = self.bytes.saturating_add(copy.objects.saturating_mul(OBJECT)).saturating_add(copy.bytes);
    }

    fn get(&mut self, m: &mut Machine, index: u32) -> Result<(), Refusal> {
        let copy = m.memo.get(&index).map(Item::copy);
        let copy =
            copy.ok_or_else(|| Refusal::Damaged(format!("the pickle uses object {index} before it is there")))?;
        self.charge(&copy);
        m.stack.push(copy);
        Ok(())
    }

    fn put(&mut self, m: &mut Machine, index: u32) -> Result<(), Refusal> {
        let copy = m.top()?.copy();
        self.charge(&copy);
        m.memo.insert(index, copy);
        Ok(())
    }

    fn global(&mut self, module: &str, name: &str) {
        self.last_global = name.to_owned();
        if self.globals.insert((module.to_owned(), name.to_owned())) {
            self.bytes += OBJECT;
        }
    }
}

impl Item {
    fn take(&mut self, item: Item) {
        self.objects = self.objects.saturating_add(item.objects);
        self.bytes = self.bytes.saturating_add(item.bytes);
    }

    /// A copy; only the original keeps the keys.
    fn copy(&self) -> Self {
        Self { objects: self.objects, bytes: self.bytes, text: self.text.clone(), keys: None }
    }
}

impl Machine {
    fn pop(&mut self) -> Result<Item, Refusal> {
        if self.marks.last() == Some(&self.stack.len()) {
            return Err(Refusal::Damaged("the pickle takes an object that is not there".into()));
        }
        self.stack.pop().ok_or_else(|| Refusal::Damaged("the pickle takes an object that is not there".into()))
    }

    fn top(&mut self) -> Result<&mut Item, Refusal> {
        self.stack.last_mut().ok_or_else(|| Refusal::Damaged("the pickle takes an object that is not there".into()))
    }

    fn above_mark(&mut self) -> Result<Vec<Item>, Refusal> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or_else(|| Refusal::Damaged("the pickle ends a group that it did not begin".into()))?;
        Ok(self.stack.split_off(mark))
    }
}

/// A number of `bytes` bytes, the lowest first.
pub(super) fn number(from: &mut impl Read, bytes: usize) -> io::Result<u64> {
    let mut buffer = [0; 8];
    from.read_exact(&mut buffer[..bytes])?;
    Ok(u64::from_le_bytes(buffer))
}

fn line(from: &mut impl BufRead) -> Result<String, Refusal> {
    let mut text = Vec::new();
    from.take(TEXT as u64).read_until(b'\n', &mut text)?;
    if text.pop() != Some(b'\n') {
        return Err(Refusal::Damaged("the pickle has a line without an end".into()));
    }
    String::from_utf8(text).map_err(|_| Refusal::Damaged("the pickle has a line that is no text".into()))
}

fn index(text: &str) -> Result<u32, Refusal> {
    text.parse().map_err(|_| Refusal::Damaged("the pickle has an object number that is none".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pickle: &[u8], limit: u64) -> Result<Costs, Refusal> {
        let mut costs = Costs::new(limit);
        costs.pickle(&mut io::BufReader::new(pickle)).map(|()| costs)
    }

    #[test]
    fn copies_of_copies_are_counted() {
        // A list of ten numbers, put in the memo; a list of ten copies; and so on.
        let mut bomb = b"]".to_vec();
        bomb.extend([&b"("[..], &b"K\x01".repeat(10), b"eq\x00"].concat());
        for level in 0..8u8 {
            bomb.extend(b"](");
            bomb.extend([b'h', level].repeat(10));
            bomb.extend([b'e', b'q', level + 1]);
        }
        bomb.push(b'.');
        assert!(bomb.len() < 300 && matches!(run(&bomb, 1 << 30), Err(Refusal::TooMuch)));
        let costs = run(b"](K\x01K\x02eq\x00h\x00.", 1 << 20).unwrap();
        assert_eq!(costs.bytes, 8 + 3 * OBJECT + 2 * 3 * OBJECT);
    }

    #[test]
    fn keys_that_occur_twice_and_globals_are_seen() {
        let costs = run(b"}(X\x01\x00\x00\x00aK\x01X\x01\x00\x00\x00bK\x01X\x01\x00\x00\x00aK\x01u.", 1 << 20).unwrap();
        assert_eq!(costs.twice.as_deref(), Some("a"));
        let costs = run(b"cposix\nsystem\n\x8c\x02os\x8c\x05popen\x93.", 1 << 20).unwrap();
        let globals: Vec<_> = costs.globals.iter().map(|(m, n)| format!("{m}.{n}")).collect();
        assert_eq!(globals, ["os.popen", "posix.system"]);
    }

    #[test]
    fn damaged_pickles_are_refused() {
        for pickle in
            [&b""[..], b"K", b"e.", b"h\x00.", b"\xff.", b"(0.", b"X\xff\xff\xff\x7fabc", b"\x85.", b"cno line"]
        {
            assert!(run(pickle, 1 << 40).is_err(), "{pickle:?}");
        }
    }
}
