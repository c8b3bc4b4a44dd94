//! What the tests of the binary share: running it, and small pictures.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use image::{ImageBuffer, Rgb};

/// The binary in an empty folder.
pub struct Shell {
    folder: tempfile::TempDir,
}

impl Shell {
    pub fn new() -> Self {
        Self { folder: tempfile::tempdir().unwrap() }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, bytes).unwrap();
        path
    }

    /// Runs `dyconv` with these words.
    pub fn run(&self, words: &str) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dyconv"));
        command.args(words.split_whitespace()).current_dir(self.folder.path()).output().unwrap()
    }

    /// Standard output of a run that must succeed.
    pub fn ok(&self, words: &str) -> String {
        let output = self.run(words);
        let (out, err) = (text(&output.stdout), text(&output.stderr));
        assert!(output.status.success(), "`dyconv {words}` failed: {err}");
        out
    }

    /// The one line on standard error of a run that must fail, without panicking.
    pub fn error(&self, words: &str) -> String {
        let output = self.run(words);
        let err = text(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "`dyconv {words}` must fail cleanly: {err}");
        assert!(!err.contains("panicked"), "{err}");
        let errors: Vec<&str> = err.lines().filter(|l| l.starts_with("error: ")).collect();
        assert_eq!(errors.len(), 1, "one line says what is wrong: {err}");
        assert_eq!(err.lines().last(), Some(errors[0]), "and it is the last: {err}");
        errors[0].to_owned()
    }

    /// As [`Shell::error`], and the line must contain `expected`.
    pub fn says(&self, words: &str, expected: &str) {
        let error = self.error(words);
        assert!(error.contains(expected), "`dyconv {words}` says `{error}`, not `{expected}`");
    }

    /// A folder with two classes of pictures, light and dark, PNG and JPEG, 24 each.
    #[cfg(feature = "train")]
    pub fn pictures(&self, name: &str) {
        for (class, base) in [("dark", 40u8), ("light", 190)] {
            for i in 0..24u8 {
                let picture = picture(20 + u32::from(i % 5), 24, base + i);
                let extension = if i % 2 == 0 { "png" } else { "jpg" };
                let path = self.path(&format!("{name}/{class}/{i:02}.{extension}"));
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                picture.save(path).unwrap();
            }
        }
    }
}

/// Says why a test cannot be done on this machine. Where `DYCONV_TEST_ALL` is set, as in CI, that is a failure.
#[allow(clippy::print_stderr, reason = "a test says what it could not try")]
pub fn skip(reason: &str) {
    assert!(std::env::var_os("DYCONV_TEST_ALL").is_none(), "may not be skipped where DYCONV_TEST_ALL is set: {reason}");
    eprintln!("skipped: {reason}");
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A slanted gradient around a base brightness.
pub fn picture(width: u32, height: u32, base: u8) -> ImageBuffer<Rgb<u8>, Vec<u8>> {
    ImageBuffer::from_fn(width, height, |x, y| {
        let shade = base.saturating_add((x + 2 * y) as u8 / 2);
        Rgb([shade, shade / 2 + 20, 255 - shade])
    })
}
