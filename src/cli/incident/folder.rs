//! A data folder at rest: the journal's lock is taken, steps go into its chain, and the store is brought up to it.

use super::{Office, folder_of};
use crate::case::{Act, Case, Item, Step, Way};
use crate::cli::Usage;
use crate::config::Config;
use crate::dossier::{Form, Language};
use crate::monitor::Settings;
use crate::shell::cases::acts::{self, OpenWish, Who};
use crate::shell::cases::bundle::Wish;
use crate::shell::cases::export::{self, Making};
use crate::shell::cases::shown;
use crate::shell::cases::{self, Cases, Place, Taken, drafts};
use crate::shell::devices::Listing;
use crate::shell::journal::{self, Journal, Options, Reader, Record};
use crate::shell::publisher::now;
use crate::shell::store::{AlertReader, Store};
use crate::shell::vault::{self, Signer};
use crate::shell::{engine, key, station_case_files::keep_capture};
use crate::time::Timestamp;
use anyhow::Context as _;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// There is time where nobody waits.
const LOOK_FOR: Duration = Duration::from_secs(600);

pub(super) struct Folder {
    config: Config,
}

/// The journal, held.
struct Held {
    journal: Journal,
    signer: Arc<Signer>,
    store: Store,
    cases: Cases,
    site_key: Vec<u8>,
    devices: Option<Listing>,
}

impl Folder {
    pub fn new(config: Config) -> Folder {
        Folder { config }
    }
    fn journal(&self) -> PathBuf {
        self.config.data.join("journal")
    }
    fn store(&self) -> PathBuf {
        self.config.data.join("store.sqlite")
    }
    fn reader(&self) -> anyhow::Result<AlertReader> {
        let there =
            || format!("{} holds no store: name the data folder (--data), or the service (--http)", self.config.data.display());
        AlertReader::open(&self.store()).with_context(there)
    }
    fn who() -> Who {
        Who { user: format!("uid-{}", rustix::process::getuid().as_raw()), via: Way::Cli }
    }
    fn case(&self, id: &str) -> anyhow::Result<Case> {
        self.reader()?.case(id)?.with_context(|| format!("no case {id} in {}", self.config.data.display()))
    }

    /// Takes the journal, and brings the store's cases up to it.
    fn hold(&self, with_devices: bool) -> anyhow::Result<Held> {
        let folder = self.journal();
        if journal::is_held(&folder) {
            let at = self.config.data.display();
            return Err(Usage::new(format!("a running service holds {at}: say it to the service (--http ADDRESS)")).into());
        }
        self.reader()?;
        let site_key = key::read(&key::path(&self.config))?;
        let signer = Arc::new(vault::signer(&self.config)?);
        let boot = uuid::Uuid::now_v7().to_string();
        let mut options = Options::new(&self.config.journal, &boot);
        options.key = Some(site_key.clone().into());
        options.signer = Some(Arc::clone(&signer));
        options.origin = vault::origin(&self.config);
        options.encryption = vault::unlock(&self.config)?;
        let devices = with_devices.then(|| self.devices(&site_key)).transpose()?;
        let (journal, feed) = Journal::open(&folder, options).context("opening the journal")?;
        // Nobody judges here: the service reads these records at its next start.
        std::thread::spawn(move || for _ in feed {});
        let store = Store::open(&self.store(), self.config.mqtt.outbox_max)?;
        let mut held = Held { cases: Cases::load(&store, now())?, journal, signer, store, site_key, devices };
        // What was refused is not judged again by what came after it; the steps of another journal have other numbers.
        let judged = Some(held.store.last_case_step()?).filter(|step| *step <= held.journal.handle().stats().records);
        let applied = held.store.applied()?.map_or(0, |applied| applied.sequence);
        let from = match applied.max(judged.unwrap_or(0)) {
            0 => 0,
            through => through + 1,
        };
        let mut acts = Vec::new();
        for entry in Reader::open(&folder, from)? {
            // What stands behind a hole is not applied; what is there is kept.
            let stamped = match entry {
                Ok(entry) => entry.stamped,
                Err(journal::JournalError::Damaged(fault)) => {
                    tracing::warn!("{fault}");
                    break;
                }
                Err(error) => return Err(error.into()),
            };
            if let Record::Case(act) = stamped.record {
                acts.push((*act, stamped.sequence, stamped.at));
            }
        }
        held.apply(&acts)?;
        Ok(held)
    }

    fn devices(&self, site_key: &[u8]) -> anyhow::Result<Listing> {
        let settings = Settings::new(&self.config, site_key)
            .with_advisories(crate::shell::advisories::load(&self.config)?)
            .with_models(crate::shell::models::load(&self.config)?);
        Ok(Listing::of(&engine::look(&settings, &self.config.data)?, false))
    }

    fn answer(&self, case: &Case, missing: &[String]) -> Value {
        shown::answer(case, missing, &self.config.zone, now())
    }
}

impl Held {
    fn place<'a>(&'a self, config: &'a Config, journal: &'a Path, store: &'a Path) -> Place<'a> {
        Place {
            journal,
            store,
            config,
            site_key: &self.site_key,
            oldest: self.journal.handle().stats().oldest,
            devices: self.devices.as_ref(),
            until: Instant::now() + LOOK_FOR,
        }
    }

    /// Into the store; the first refusal.
    fn apply(&mut self, acts: &[(Act, u64, Timestamp)]) -> anyhow::Result<Option<crate::case::Refused>> {
        let mut refused = None;
        for (act, sequence, at) in acts {
            match self.cases.take(&self.store, act, *sequence, *at)? {
                None => {}
                Some(Taken::Changed(change)) => {
                    let case = change.case.clone();
                    self.store.write_cases(&[*change])?;
                    let folder = self.journal.handle().folder().to_owned();
                    cases::keep(&folder, &case, *at)?;
                    if cases::is_let_go(&case) {
                        self.store.let_go(&case.id)?;
                    }
                }
                Some(Taken::Refused(no)) => refused = refused.or(Some(no)),
            }
        }
        Ok(refused)
    }

    /// Into the journal's chain, then into the store.
    fn submit(&mut self, acts: Vec<Act>) -> anyhow::Result<()> {
        let records = acts.iter().map(|act| Record::Case(Box::new(act.clone()))).collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let stored = runtime.block_on(self.journal.handle().submit_stamped(records));
        let (first, at) = stored.map_err(|error| anyhow::anyhow!("nothing was done: {error}"))?;
        let numbered: Vec<_> = acts.into_iter().zip(first..).map(|(act, sequence)| (act, sequence, at)).collect();
        match self.apply(&numbered)? {
            None | Some(crate::case::Refused::Known(_)) => Ok(()),
            Some(refused) => anyhow::bail!("{refused}"),
        }
    }
}

impl Office for Folder {
    fn list(&mut self, all: bool) -> anyhow::Result<Value> {
        let short = |case: &Case| shown::short(case, &self.config.zone, now());
        Ok(json!({ "cases": self.reader()?.cases(!all, 1_000)?.iter().map(short).collect::<Vec<_>>() }))
    }
    fn show(&mut self, case: &str) -> anyhow::Result<Value> {
        let found = self.case(case)?;
        let steps = self.reader()?.case_steps(case)?;
        Ok(shown::whole(&found, &steps, &self.config.zone, now()))
    }
    fn open(&mut self, wish: &OpenWish) -> anyhow::Result<Value> {
        let (folder, store) = (self.journal(), self.store());
        let mut held = self.hold(true)?;
        let opening = acts::open(&held.place(&self.config, &folder, &store), &Folder::who(), wish, now())?;
        if let Some((first, last)) = opening.records {
            journal::hold(&folder, &cases::hold_name(&opening.case), first, last)?;
        }
        held.submit(opening.acts)?;
        Ok(self.answer(&self.case(&opening.case)?, &opening.missing))
    }
    fn step(&mut self, case: &str, expect: Option<u32>, step: &Value) -> anyhow::Result<Value> {
        let (folder, store) = (self.journal(), self.store());
        let mut held = self.hold(step["step"] == "add")?;
        let known = self.case(case)?;
        let place = held.place(&self.config, &folder, &store);
        let stepping = acts::step(&place, &Folder::who(), &known, expect, step, now())?;
        held.submit(stepping.acts)?;
        Ok(self.answer(&self.case(case)?, &stepping.missing))
    }
    fn capture(&mut self, case: &str, name: &str, bytes: Vec<u8>) -> anyhow::Result<Value> {
        let mut held = self.hold(false)?;
        let found = self.case(case)?;
        let sha256 = crate::alert::hex(&<sha2::Sha256 as sha2::Digest>::digest(&bytes));
        let item = Item::Capture { name: name.to_owned(), sha256, bytes: bytes.len() as u64 };
        let act = Folder::who().act(case, None, Step::Add { item });
        found.clone().apply(&act, u64::MAX, now())?;
        keep_capture(&cases::captures_of(&self.config.data, case), name, &bytes)
            .context("the capture cannot be kept: nothing was added")?;
        held.submit(vec![act])?;
        Ok(self.answer(&self.case(case)?, &[]))
    }
    fn export(&mut self, case: &str, identified: bool, output: Option<&Path>) -> anyhow::Result<(PathBuf, String)> {
        let (folder, store) = (self.journal(), self.store());
        let mut held = self.hold(false)?;
        let found = self.case(case)?;
        let steps = self.reader()?.case_steps(case)?;
        let name = export::name(&found, identified);
        let path = output.map_or_else(|| PathBuf::from(&name), Path::to_owned);
        anyhow::ensure!(!path.exists(), "{} is there already", path.display());
        let who = Folder::who();
        let wish = Wish { identified, made_by: who.user.clone(), made_at: now() };
        let place = held.place(&self.config, &folder, &store);
        let making = Making {
            place: &place,
            data: &self.config.data,
            case: &found,
            steps: &steps,
            signer: &held.signer,
            checkpoint: held.journal.handle().checkpoint().ok(),
            config_hash: &crate::shell::config_hash(&self.config),
            wish: &wish,
        };
        let (built, file) = export::make(&making, folder_of(&path))?;
        held.submit(vec![export::step(&who, &found, identified, &built)])?;
        file.persist_noclobber(&path).map_err(|error| error.error).with_context(|| path.display().to_string())?;
        Ok((path, built.sha256))
    }
    fn draft(&mut self, case: &str, form: &str, lang: Option<&str>, format: &str) -> anyhow::Result<Vec<u8>> {
        let usage = |text: &str| Usage::new(text.to_owned());
        let form = Form::parse(form).ok_or_else(|| {
            let known: Vec<_> = Form::ALL.iter().map(|form| form.as_str()).collect();
            Usage::new(format!("no form {form:.64}: one of {}", known.join(", ")))
        })?;
        let language = Language::parse(lang.unwrap_or(&self.config.http.language)).ok_or_else(|| usage("--lang: it or en"))?;
        let (folder, store, found) = (self.journal(), self.store(), self.case(case)?);
        let site_key = key::read(&key::path(&self.config))?;
        let place = Place {
            journal: &folder,
            store: &store,
            config: &self.config,
            site_key: &site_key,
            oldest: 0,
            devices: None,
            until: Instant::now() + LOOK_FOR,
        };
        let facts = drafts::found(&place, &found)?;
        let draft = drafts::draft(&place, &found, &facts, form, language, &Folder::who().user, now());
        Ok(match format {
            "html" => draft.html(),
            "json" => draft.json().to_string(),
            "csv" => draft.csv(),
            _ => return Err(usage("--format: html, json or csv").into()),
        }
        .into_bytes())
    }
}
