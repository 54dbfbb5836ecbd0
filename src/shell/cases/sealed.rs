//! A zip whose every byte counts: fixed times, one method, and at its very end, as the zip's comment, the SHA-256 of all before.

use super::bundle::{ExportError, FileLine};
use crate::alert::hex;
use sha2::{Digest, Sha256};
use std::io::{Read, Seek, SeekFrom, Write};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

/// Length of the seal: hex digits of a SHA-256.
pub const SEAL_BYTES: usize = 64;

/// A bundle that is being written.
pub struct Sealed<W: Write + Seek> {
    zip: ZipWriter<W>,
    files: Vec<FileLine>,
    open: Option<(String, Sha256, u64)>,
    total: u64,
}

pub(super) fn options() -> SimpleFileOptions {
    SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o644)
}

impl<W: Read + Write + Seek> Sealed<W> {
    pub fn new(out: W) -> Sealed<W> {
        Sealed { zip: ZipWriter::new(out), files: Vec::new(), open: None, total: 0 }
    }
    fn zip(&self, error: zip::result::ZipError) -> ExportError {
        match error {
            zip::result::ZipError::Io(error) => self.io(error),
            other => ExportError::Zip(other),
        }
    }
    fn io(&self, error: std::io::Error) -> ExportError {
        failed(self.total, error)
    }
    /// A whole file.
    pub fn add(&mut self, name: &str, bytes: &[u8]) -> Result<(), ExportError> {
        self.begin(name)?;
        self.write(bytes)?;
        self.end()
    }
    /// A whole file that is the payload of a record.
    pub fn add_record(&mut self, name: &str, bytes: &[u8], record: u64) -> Result<(), ExportError> {
        self.add(name, bytes)?;
        if let Some(line) = self.files.last_mut() {
            line.record = Some(record);
        }
        Ok(())
    }
    pub fn begin(&mut self, name: &str) -> Result<(), ExportError> {
        self.zip.start_file(name, options()).map_err(|error| self.zip(error))?;
        self.open = Some((name.to_owned(), Sha256::new(), 0));
        Ok(())
    }
    pub fn write(&mut self, bytes: &[u8]) -> Result<(), ExportError> {
        if let Some((_, hash, length)) = &mut self.open {
            hash.update(bytes);
            *length += bytes.len() as u64;
        }
        self.total += bytes.len() as u64;
        self.zip.write_all(bytes).map_err(|error| self.io(error))
    }
    pub fn end(&mut self) -> Result<(), ExportError> {
        if let Some((name, hash, bytes)) = self.open.take() {
            self.files.push(FileLine { name, bytes, sha256: hex(&hash.finalize()), record: None });
        }
        Ok(())
    }
    /// What is in it so far, in its order.
    pub fn files(&self) -> Vec<FileLine> {
        self.files.clone()
    }
    /// Writes the directory and the seal; size and SHA-256 of the whole.
    pub fn finish(mut self) -> Result<(u64, String, W), ExportError> {
        let total = self.total;
        let full = |error: std::io::Error| failed(total, error);
        self.zip.set_comment("0".repeat(SEAL_BYTES)).map_err(ExportError::Zip)?;
        let mut out = self.zip.finish().map_err(|error| match error {
            zip::result::ZipError::Io(error) => full(error),
            other => ExportError::Zip(other),
        })?;
        let length = out.seek(SeekFrom::End(0)).map_err(full)?;
        out.seek(SeekFrom::Start(0)).map_err(full)?;
        let mut hash = Sha256::new();
        let mut rest = Read::take(&mut out, length - SEAL_BYTES as u64);
        std::io::copy(&mut rest, &mut hash).map_err(full)?;
        let mut whole = hash.clone();
        let seal = hex(&hash.finalize());
        out.write_all(seal.as_bytes()).map_err(full)?;
        out.flush().map_err(full)?;
        whole.update(seal.as_bytes());
        Ok((length, hex(&whole.finalize()), out))
    }
}

/// An error of the disk, after so many bytes.
fn failed(bytes: u64, error: std::io::Error) -> ExportError {
    use std::io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match error.kind() {
        StorageFull | QuotaExceeded | FileTooLarge => ExportError::Full { bytes },
        _ => ExportError::Io(error),
    }
}
