//! The files of an export: one a table and day, under a temporary name until it is whole and on disk.

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use aws_lc_rs::digest;
use parley_domain::Timestamp;
use parley_wire::time;

use super::manifest::FilePart;
use super::table::{Row, TableWriter};
use crate::Usage;

/// Days of one table that are written at once; each holds at most a row group in memory.
const OPEN_DAYS_MAX: usize = 6;
const TEMPORARY: &str = ".tmp";
/// A file while it is written.
const OPEN: &str = "open.tmp";
/// Of files that are whole.
const PARQUET: &str = ".parquet";

/// The day of a point in time, UTC: `2026-11-24`.
fn day(at: Timestamp) -> String {
    let mut text = time::format(at);
    text.truncate("2026-11-24".len());
    text
}

/// Hashes and counts what goes through it.
struct Hashed {
    file: BufWriter<File>,
    digest: digest::Context,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, some: &[u8]) -> std::io::Result<usize> {
        let written = self.file.write(some)?;
        self.digest.update(some.get(..written).unwrap_or_default());
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

/// A file that is being written.
struct Open<R: Row> {
    writer: TableWriter<R, Hashed>,
    /// When it was last written to, in rows.
    used: u64,
}

/// The files of one table in one export directory.
pub(crate) struct TableFiles<R: Row> {
    dir: PathBuf,
    /// Readable by the owner only.
    private: bool,
    days: BTreeMap<String, Open<R>>,
    /// Whole, but not in the manifest yet: they still have their temporary names.
    whole: Vec<FilePart>,
    used: u64,
    /// The number of the next file.
    next: usize,
}

impl<R: Row> TableFiles<R> {
    /// Of an export directory, whose manifest lists `listed` (of all tables). What else lies in the table is of an
    /// interrupted run, and is removed.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn open(dir: &Path, listed: &[FilePart], private: bool) -> anyhow::Result<Self> {
        let ours = listed.iter().filter(|part| part.table == R::TABLE);
        remove_unlisted(dir, R::TABLE, &ours.clone().map(|part| part.path.as_str()).collect::<Vec<_>>())?;
        let (days, whole) = (BTreeMap::new(), Vec::new());
        Ok(Self { dir: dir.to_owned(), private, days, whole, used: 0, next: ours.count() })
    }

    /// Adds a row to its day.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn push(&mut self, at: Timestamp, row: &R) -> anyhow::Result<()> {
        let day = day(at);
        self.used += 1;
        if !self.days.contains_key(&day) {
            if self.days.len() >= OPEN_DAYS_MAX {
                let oldest = self.days.iter().min_by_key(|(_, open)| open.used).map(|(day, _)| day.clone());
                oldest.map_or(Ok(()), |oldest| self.finish(&oldest))?;
            }
            let open = self.begin(&day)?;
            self.days.insert(day.clone(), open);
        }
        let Some(open) = self.days.get_mut(&day) else { return Ok(()) };
        open.used = self.used;
        open.writer.push(row).with_context(|| format!("a file of {day} can't be written"))
    }

    fn path(&self, day: &str) -> String {
        // A day has one open file at a time, so the name tells the day and how many came before.
        format!("{}/date={day}/{}", R::TABLE, part_name(self.next + self.whole.len()))
    }

    fn begin(&self, day: &str) -> anyhow::Result<Open<R>> {
        let folder = self.dir.join(R::TABLE).join(format!("date={day}"));
        let path = folder.join(OPEN);
        let cannot = || format!("{} can't be made", path.display());
        std::fs::create_dir_all(&folder).with_context(cannot)?;
        let mode = if self.private { 0o600 } else { 0o666 };
        let file = OpenOptions::new().create(true).truncate(true).write(true).mode(mode).open(&path);
        let file = BufWriter::new(file.with_context(cannot)?);
        let sink = Hashed { file, digest: digest::Context::new(&digest::SHA256), bytes: 0 };
        Ok(Open { writer: TableWriter::new(sink)?, used: 0 })
    }

    /// Makes a day's file whole and durable, still under a temporary name.
    fn finish(&mut self, day: &str) -> anyhow::Result<()> {
        let Some(open) = self.days.remove(day) else { return Ok(()) };
        let path = self.path(day);
        let cannot = || format!("{path} can't be written");
        let (sink, rows) = open.writer.finish().with_context(cannot)?;
        let Hashed { file, digest, bytes } = sink;
        let file = file.into_inner().map_err(std::io::IntoInnerError::into_error).with_context(cannot)?;
        file.sync_all().with_context(cannot)?;
        let folder = self.dir.join(R::TABLE).join(format!("date={day}"));
        let whole = self.dir.join(format!("{path}{TEMPORARY}"));
        std::fs::rename(folder.join(OPEN), whole).with_context(cannot)?;
        self.whole.push(FilePart {
            path,
            table: R::TABLE.to_owned(),
            date: day.to_owned(),
            rows,
            bytes,
            sha256: hex(digest.finish().as_ref()),
        });
        Ok(())
    }

    /// Makes everything so far whole, durable, and seen under its name. The manifest must list it at once.
    ///
    /// # Errors
    /// What the file system says.
    pub(crate) fn publish(&mut self) -> anyhow::Result<Vec<FilePart>> {
        let days: Vec<String> = self.days.keys().cloned().collect();
        days.iter().try_for_each(|day| self.finish(day))?;
        for part in &self.whole {
            let path = self.dir.join(&part.path);
            let cannot = || format!("{} can't be put in its place", path.display());
            std::fs::rename(self.dir.join(format!("{}{TEMPORARY}", part.path)), &path)
                .with_context(cannot)?;
            let folder = path.parent().unwrap_or(&self.dir);
            File::open(folder).and_then(|folder| folder.sync_all()).with_context(cannot)?;
        }
        if !self.whole.is_empty() {
            let sync = |dir: &Path| File::open(dir).and_then(|dir| dir.sync_all());
            sync(&self.dir.join(R::TABLE))
                .and_then(|()| sync(&self.dir))
                .context("a folder isn't durable")?;
        }
        self.next += self.whole.len();
        Ok(std::mem::take(&mut self.whole))
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn part_name(number: usize) -> String {
    format!("part-{number:06}{PARQUET}")
}

/// Whether we give such names. Others' programs write `part-….parquet` too, so that it must be one exactly.
fn is_ours(name: &str) -> bool {
    let part = name.strip_suffix(TEMPORARY).unwrap_or(name);
    let digits = part.strip_prefix("part-").and_then(|rest| rest.strip_suffix(PARQUET));
    let number = digits.and_then(|digits| digits.parse().ok());
    name == OPEN || number.is_some_and(|number| part_name(number) == part)
}

/// The files in a table's days, by their paths from the export's directory, each with its name.
fn files_of(dir: &Path, table: &str) -> anyhow::Result<Vec<(String, String)>> {
    let Ok(days) = std::fs::read_dir(dir.join(table)) else { return Ok(Vec::new()) };
    let mut files = Vec::new();
    for day in days {
        let day = day?;
        let folder = day.file_name().to_string_lossy().into_owned();
        if !folder.starts_with("date=") || !day.file_type()?.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(day.path())? {
            let name = file?.file_name().to_string_lossy().into_owned();
            files.push((format!("{table}/{folder}/{name}"), name));
        }
    }
    Ok(files)
}

/// Whether an export may begin in a directory that has no manifest: what lies where its files go is somebody else's, and must
/// be neither removed nor taken for a part of the export.
///
/// # Errors
/// [`Usage`] if something does; what the file system says.
pub(crate) fn must_be_free(dir: &Path, table: &str) -> anyhow::Result<()> {
    let files = files_of(dir, table)?;
    // What no export has finished is nobody's data, if it has our names; it goes with the rest of an interrupted run.
    let Some((path, _)) = files.iter().find(|(_, name)| name.ends_with(PARQUET)) else {
        return Ok(());
    };
    let why = format!(
        "{} has no manifest.json, so it is no export, but there is {path}: export to an empty directory, or move what is \
         there away",
        dir.display()
    );
    Err(Usage(why).into())
}

/// Removes what an interrupted run left: files with our names that no manifest lists.
fn remove_unlisted(dir: &Path, table: &str, listed: &[&str]) -> anyhow::Result<()> {
    for (path, name) in files_of(dir, table)? {
        if is_ours(&name) && !listed.contains(&path.as_str()) {
            std::fs::remove_file(dir.join(&path)).with_context(|| format!("{path} can't be removed"))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::table::{Cell, Column, Kind};
    use super::*;

    const DAY_MS: i64 = 86_400_000;

    struct Number(i64);

    impl Row for Number {
        const TABLE: &'static str = "numbers";
        const COLUMNS: &'static [Column<Self>] =
            &[Column { name: "number", kind: Kind::Int, get: |row| Cell::Int(Some(row.0)) }];
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names = Vec::new();
        for day in std::fs::read_dir(dir.join("numbers")).unwrap().map(Result::unwrap) {
            let files = std::fs::read_dir(day.path()).unwrap().map(Result::unwrap);
            let day = day.file_name().to_string_lossy().into_owned();
            names.extend(files.map(|file| format!("{day}/{}", file.file_name().to_string_lossy())));
        }
        names.sort();
        names
    }

    #[test]
    fn a_day_has_its_file_and_days_beyond_the_bound_several() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = TableFiles::<Number>::open(dir.path(), &[], false).unwrap();
        let days = i64::try_from(OPEN_DAYS_MAX).unwrap() + 2;
        for n in 0..2 * days {
            files.push(Timestamp(n % days * DAY_MS), &Number(n)).unwrap();
            assert!(files.days.len() <= OPEN_DAYS_MAX);
        }
        assert!(
            names(dir.path()).iter().all(|name| name.ends_with(TEMPORARY)),
            "nothing is seen before it counts"
        );
        let parts = files.publish().unwrap();
        assert_eq!(parts.iter().map(|part| part.rows).sum::<u64>(), u64::try_from(2 * days).unwrap());
        assert_eq!(names(dir.path()).len(), parts.len());
        for part in &parts {
            let bytes = std::fs::read(dir.path().join(&part.path)).unwrap();
            assert_eq!(part.bytes, bytes.len() as u64);
            assert_eq!(part.sha256, hex(digest::digest(&digest::SHA256, &bytes).as_ref()));
            assert!(part.path.contains(&part.date));
        }
    }

    #[test]
    fn what_no_manifest_lists_is_removed_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let mut files = TableFiles::<Number>::open(dir.path(), &[], true).unwrap();
        files.push(Timestamp(0), &Number(1)).unwrap();
        let listed = files.publish().unwrap();
        files.push(Timestamp(0), &Number(2)).unwrap();
        files.publish().unwrap();
        files.push(Timestamp(DAY_MS), &Number(3)).unwrap();
        drop(files);
        let folder = dir.path().join("numbers").join("date=1970-01-01");
        let others = ["notes.txt", "part-00000-7c1e.c000.snappy.parquet", "part-7.parquet", "x.tmp"];
        for name in others {
            std::fs::write(folder.join(name), "mine").unwrap();
        }
        drop(TableFiles::<Number>::open(dir.path(), &listed, true).unwrap());
        let kept = others.into_iter().chain(["part-000000.parquet"]);
        let mut kept: Vec<_> = kept.map(|name| format!("date=1970-01-01/{name}")).collect();
        kept.sort_unstable();
        assert_eq!(names(dir.path()), kept);
    }

    #[test]
    fn no_export_begins_among_the_files_of_others() {
        for (name, is_free) in [
            ("part-000000.parquet", false),
            ("part-000000.parquet.tmp", true),
            ("open.tmp", true),
            ("part-00000-7c1e.c000.snappy.parquet", false),
            ("_SUCCESS", true),
        ] {
            let dir = tempfile::tempdir().unwrap();
            let folder = dir.path().join("numbers").join("date=2026-11-24");
            std::fs::create_dir_all(&folder).unwrap();
            std::fs::write(folder.join(name), "mine").unwrap();
            match must_be_free(dir.path(), "numbers") {
                Ok(()) => assert!(is_free, "{name}"),
                Err(error) => assert!(error.is::<Usage>() && !is_free && error.to_string().contains(name)),
            }
            must_be_free(dir.path(), "letters").unwrap();
        }
    }
}
