//! Where recordings come from: files, folders of files, standard input; plain, gzip or zstd. Opened, hashed, never held whole.

use sha2::{Digest as _, Sha256};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Seek as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One recording.
#[derive(Debug)]
pub struct Input {
    /// The name people know it by; `-` for standard input.
    pub name: String,
    place: Place,
}

#[derive(Debug)]
enum Place {
    File(PathBuf),
    /// Standard input, kept in a nameless temporary file: it is read twice, once for the run's id.
    Spool(File),
}

/// What wraps the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Plain,
    Gzip,
    Zstd,
}

impl Packing {
    pub const fn as_str(self) -> &'static str {
        match self {
            Packing::Plain => "",
            Packing::Gzip => ", gzip",
            Packing::Zstd => ", zstd",
        }
    }
}

/// Bytes read so far, for the progress bar.
pub type Progress = Arc<AtomicU64>;

struct Counted<R> {
    inner: R,
    progress: Progress,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

impl Input {
    /// A file.
    pub fn file(path: &Path) -> Input {
        Input { name: path.display().to_string(), place: Place::File(path.to_owned()) }
    }

    /// Standard input, copied to a temporary file first.
    pub fn stdin(from: &mut impl Read) -> io::Result<Input> {
        let mut spool = tempfile::tempfile()?;
        io::copy(from, &mut spool)?;
        Ok(Input { name: "-".into(), place: Place::Spool(spool) })
    }

    fn raw(&self) -> io::Result<File> {
        match &self.place {
            Place::File(path) => File::open(path),
            Place::Spool(file) => {
                let mut file = file.try_clone()?;
                file.rewind()?;
                Ok(file)
            }
        }
    }

    /// Size as stored, bytes; 0 where unknown.
    pub fn bytes(&self) -> u64 {
        self.raw().and_then(|file| file.metadata()).map_or(0, |meta| meta.len())
    }

    /// Feeds the stored bytes to a hash.
    pub fn hash_into(&self, hash: &mut Sha256) -> io::Result<()> {
        let mut file = self.raw()?;
        let mut buffer = vec![0u8; 1 << 20];
        loop {
            match file.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => hash.update(&buffer[..read]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Opens it and looks through what it is packed in, by content.
    pub fn open(&self, progress: Progress) -> io::Result<(Box<dyn BufRead + Send>, Packing)> {
        let mut raw = BufReader::with_capacity(1 << 18, Counted { inner: self.raw()?, progress });
        let packing = match raw.fill_buf()? {
            [0x1f, 0x8b, ..] => Packing::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Packing::Zstd,
            _ => Packing::Plain,
        };
        Ok((
            match packing {
                Packing::Plain => Box::new(raw),
                Packing::Gzip => Box::new(BufReader::with_capacity(1 << 17, flate2::bufread::MultiGzDecoder::new(raw))),
                Packing::Zstd => Box::new(BufReader::with_capacity(1 << 17, zstd::stream::read::Decoder::with_buffer(raw)?)),
            },
            packing,
        ))
    }
}

/// What was named on the command line: `-` once, files, and folders (their files in the order of their names).
pub fn gather(paths: &[PathBuf]) -> io::Result<Vec<Input>> {
    let mut inputs = Vec::new();
    for path in paths {
        let named = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
        if path.as_os_str() == "-" {
            inputs.push(Input::stdin(&mut io::stdin().lock()).map_err(named)?);
        } else if std::fs::metadata(path).map_err(named)?.is_dir() {
            let mut files = Vec::new();
            for entry in std::fs::read_dir(path).map_err(named)? {
                let entry = entry.map_err(named)?;
                if entry.file_type().map_err(named)?.is_file() {
                    files.push(entry.path());
                }
            }
            files.sort();
            inputs.extend(files.iter().map(|file| Input::file(file)));
        } else {
            inputs.push(Input::file(path));
        }
    }
    Ok(inputs)
}

/// The run's id: the first 12 hex digits of SHA-256 over the stored bytes of every input, in the order given.
pub fn run_id(inputs: &[Input]) -> io::Result<String> {
    let mut hash = Sha256::new();
    for input in inputs {
        input.hash_into(&mut hash)?;
    }
    Ok(crate::alert::hex(&hash.finalize()[..6]))
}
