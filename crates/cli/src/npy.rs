//! Arrays in NumPy's file format.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;

use anyhow::{Context, anyhow, ensure};
use dyconv_file::write_atomically;
use dyconv_graph::short_text;
use npyz::{NpyHeader, Order, WriterBuilder};

/// Longest header that is accepted, in bytes; NumPy has the same limit.
const MAX_HEADER: usize = 10_000;

/// Number of brackets in the header of an array of numbers: those of a dictionary and of a shape. The parser takes
/// exponential time for nested ones.
const BRACKETS: usize = 2;

/// Reads an array of 32-bit floats: its shape and its values in C order.
pub fn read(path: &Path) -> anyhow::Result<(Vec<usize>, Vec<f32>)> {
    let name = path.display();
    let about = fs::metadata(path).with_context(|| format!("{name}: cannot be read"))?;
    ensure!(about.is_file(), "{name}: is a folder, a pipe or a device, expected an .npy file");
    // The file, and its values in addition.
    crate::memory::check(2 * about.len(), || format!("{name}: reading it"))?;
    let bytes = fs::read(path).with_context(|| format!("{name}: cannot be read"))?;
    parse(&bytes).map_err(|message| anyhow!("{name}: {message}"))
}

/// Like [`read`], from the bytes of a file.
pub fn parse(bytes: &[u8]) -> Result<(Vec<usize>, Vec<f32>), String> {
    check_header(bytes)?;
    let mut rest = bytes;
    let header = NpyHeader::from_reader(&mut rest).map_err(|e| match e.kind() {
        ErrorKind::UnexpectedEof => "is cut short".to_owned(),
        _ => format!("has a header that cannot be used: {}", short_text(&e.to_string(), 300)),
    })?;
    let (shape, order) = (header.shape(), header.order());
    let words = match header.dtype().descr().as_str() {
        "'<f4'" => f32::from_le_bytes,
        "'>f4'" => f32::from_be_bytes,
        other => {
            let other = short_text(other, 40);
            return Err(format!(
                "holds elements of type {other}, expected '<f4' (32-bit floats): save x.astype('float32')"
            ));
        }
    };
    let bytes_claimed = shape.iter().try_fold(4u64, |n, d| n.checked_mul(*d)).and_then(|n| usize::try_from(n).ok());
    let data = bytes_claimed.and_then(|n| rest.get(..n)).ok_or_else(|| {
        let shown = short_text(&format!("{shape:?}"), 80);
        format!("is cut short: it claims the shape {shown}, and holds {} bytes of values", rest.len())
    })?;
    let shape: Vec<usize> = shape.iter().map(|d| *d as usize).collect();
    let mut values = Vec::new();
    values.try_reserve_exact(data.len() / 4).map_err(|_| format!("there is no memory for {} bytes", data.len()))?;
    values.extend(data.as_chunks::<4>().0.iter().map(|word| words(*word)));
    match order {
        Order::C => Ok((shape, values)),
        Order::Fortran => c_order(&shape, &values).map(|values| (shape, values)),
    }
}

/// Checks the header before it is parsed, against limits on its contents.
fn check_header(bytes: &[u8]) -> Result<(), String> {
    if bytes.starts_with(b"PK\x03\x04") {
        return Err("is an archive of arrays (.npz), expected one array: save it with numpy.save".into());
    }
    let [b'\x93', b'N', b'U', b'M', b'P', b'Y', version, _, rest @ ..] = bytes else {
        return Err("is no .npy file".into());
    };
    let (length, text) = match (version, rest) {
        (1, [a, b, text @ ..]) => (u32::from_le_bytes([*a, *b, 0, 0]), text),
        (2 | 3, [a, b, c, d, text @ ..]) => (u32::from_le_bytes([*a, *b, *c, *d]), text),
        (1..=3, _) => return Err("is cut short".into()),
        _ => return Err(format!("is an .npy file of version {version}, expected 1, 2 or 3")),
    };
    if length as usize > MAX_HEADER {
        return Err(format!("has a header of {length} bytes, expected at most {MAX_HEADER}"));
    }
    let text = text.get(..length as usize).ok_or("is cut short")?;
    if text.iter().filter(|byte| b"([{".contains(byte)).count() > BRACKETS {
        return Err(
            "holds records or nested arrays, expected an array of 32-bit floats: save x.astype('float32')".into()
        );
    }
    Ok(())
}

/// The values in C order (the last index first) of an array in Fortran order (the first index first).
fn c_order(shape: &[usize], values: &[f32]) -> Result<Vec<f32>, String> {
    let mut ordered = Vec::new();
    let bytes = size_of_val(values);
    ordered.try_reserve_exact(values.len()).map_err(|_| format!("there is no memory for {bytes} bytes"))?;
    // Distance from one index to the next, by axis.
    let steps: Vec<usize> = shape.iter().scan(1, |next, d| Some(std::mem::replace(next, *next * d))).collect();
    let mut index = vec![0; shape.len()];
    let mut at = 0;
    for _ in values {
        ordered.push(values[at]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            at += steps[axis];
            if index[axis] < shape[axis] {
                break;
            }
            at -= steps[axis] * shape[axis];
            index[axis] = 0;
        }
    }
    Ok(ordered)
}

/// Writes an array of 32-bit floats in C order.
pub fn write(path: &Path, shape: &[usize], values: &[f32]) -> anyhow::Result<()> {
    let mut bytes = Vec::new();
    let shape: Vec<u64> = shape.iter().map(|d| *d as u64).collect();
    let mut writer = npyz::WriteOptions::new().default_dtype().shape(&shape).writer(&mut bytes).begin_nd()?;
    writer.extend(values.iter().copied())?;
    writer.finish()?;
    bytes.flush()?;
    write_atomically(path, &bytes).with_context(|| format!("{}: cannot be written", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file of this version, header and data.
    fn file(version: u8, header: &str, data: &[u8]) -> Vec<u8> {
        let mut bytes = vec![0x93, b'N', b'U', b'M', b'P', b'Y', version, 0];
        if version == 1 {
            bytes.extend((header.len() as u16).to_le_bytes());
        } else {
            bytes.extend((header.len() as u32).to_le_bytes());
        }
        bytes.extend(header.as_bytes());
        bytes.extend(data);
        bytes
    }

    fn array(descr: &str, fortran: bool, shape: &str, data: &[u8]) -> Vec<u8> {
        let fortran = if fortran { "True" } else { "False" };
        file(1, &format!("{{'descr': '{descr}', 'fortran_order': {fortran}, 'shape': {shape}, }}\n"), data)
    }

    fn little(values: &[f32]) -> Vec<u8> {
        values.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    #[test]
    fn orders_of_bytes_and_of_axes_are_read() {
        let values: Vec<f32> = (0..6).map(|v| v as f32 - 2.5).collect();
        let big: Vec<u8> = values.iter().flat_map(|v| v.to_be_bytes()).collect();
        let expected = (vec![2, 3], values.clone());
        assert_eq!(parse(&array("<f4", false, "(2, 3)", &little(&values))).unwrap(), expected);
        assert_eq!(parse(&array(">f4", false, "(2, 3)", &big)).unwrap(), expected);
        // Column by column.
        let turned = [0, 3, 1, 4, 2, 5].map(|i| values[i]);
        assert_eq!(parse(&array("<f4", true, "(2, 3)", &little(&turned))).unwrap(), expected);
        assert_eq!(parse(&array("<f4", true, "(6,)", &little(&values))).unwrap(), (vec![6], values.clone()));
        assert_eq!(parse(&array("<f4", true, "(1, 6, 1)", &little(&values))).unwrap(), (vec![1, 6, 1], values.clone()));
        for fortran in [false, true] {
            assert_eq!(parse(&array("<f4", fortran, "()", &little(&[7.5]))).unwrap(), (vec![], vec![7.5]));
            assert_eq!(parse(&array("<f4", fortran, "(3, 0, 2)", b"")).unwrap(), (vec![3, 0, 2], vec![]));
        }
        // Three axes: the first index varies fastest.
        let cube: Vec<f32> = (0..24).map(|v| v as f32).collect();
        let (shape, found) = parse(&array("<f4", true, "(2, 3, 4)", &little(&cube))).unwrap();
        let at = |i: usize, j: usize, k: usize| (i + 2 * (j + 3 * k)) as f32;
        let expected = (0..24).map(|n| at(n / 12, n / 4 % 3, n % 4)).collect::<Vec<_>>();
        assert_eq!((shape, found), (vec![2, 3, 4], expected));
        let header = "{'descr': '<f4', 'fortran_order': False, 'shape': (1,), }";
        for version in [1, 2, 3] {
            assert_eq!(parse(&file(version, header, &little(&[2.0]))).unwrap(), (vec![1], vec![2.0]), "{version}");
        }
    }

    #[test]
    fn what_cannot_be_used_says_what_to_do() {
        let says = |bytes: &[u8], expected: &str| {
            let error = parse(bytes).unwrap_err();
            assert!(error.contains(expected) && error.len() < 600, "`{error}` does not say `{expected}`");
        };
        for descr in ["<f8", ">f8", "<i4", "|u1", "<c8", "<U3"] {
            says(&array(descr, false, "(1,)", &[0; 64]), "save x.astype('float32')");
        }
        says(&array("f4, f4", false, "(1,)", &[0; 64]), "header that cannot be used");
        says(&array("<f4", false, "(2, 3)", &[0; 23]), "claims the shape [2, 3], and holds 23 bytes");
        says(&array("<f4", false, "(9223372036854775807, 9223372036854775807, 2)", b""), "is cut short");
        says(&array("<f4", false, "(4611686018427387904,)", b""), "is cut short");
        says(&array("<f4", false, "(99999999999999999999999,)", b""), "header that cannot be used");
        says(&array("<f4", false, "(-1,)", b""), "header that cannot be used");
        says(b"", "is no .npy file");
        says(b"\x93NUMP", "is no .npy file");
        says(b"\x93NUMPY\x01\x00", "is cut short");
        says(b"\x93NUMPY\x01\x00\xff\x00{", "is cut short");
        says(b"\x93NUMPY\x09\x00\xff\x00{", "version 9");
        says(b"PK\x03\x04rest", "save it with numpy.save");
        says(&file(2, &" ".repeat(10_001), b""), "has a header of 10001 bytes, expected at most 10000");
        says(&file(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &[0; 4]), "holds records");
    }

    #[test]
    fn nested_brackets_take_no_time() {
        for nested in ["[", "(", "{", "{(", "[((["] {
            for depth in [3, 50, 9_000] {
                let header: String = nested.chars().cycle().take(depth).collect();
                assert!(parse(&file(2, &header, b"")).unwrap_err().contains("nested"), "{nested} {depth}");
                let quoted = format!("{{'''{header}''': (");
                assert!(parse(&file(2, &quoted, b"")).is_err(), "{nested} {depth}");
            }
        }
        for rest in
            ["", "{", "{(", "{'descr':", "{'a': 1 + 1 + 1", &format!("({}", "-".repeat(9_000)), &"9".repeat(9_000)]
        {
            assert!(parse(&file(2, rest, b"")).is_err());
        }
    }
}
