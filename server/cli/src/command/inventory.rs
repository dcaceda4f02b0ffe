//! `hallmark inventory`.

use std::path::{Path, PathBuf};

use clap::{Subcommand, ValueEnum};
use hallmark_api::admin::{ImportInventoryRequest, InventoryItem, RemoveInventoryRequest};

use super::{Context, evidence::read::limited};
use crate::{
    args::Destruction,
    client::Client,
    error::CliError,
    exit::Exit,
    lookup,
    output::{Format, show, write},
    view::inventory::{self, ImportView, InventoryList, RemovalView},
};

/// The largest file that is sent.
const MAX_FILE: usize = 16 * 1024 * 1024;
/// Bytes of a file in one message.
const PART: usize = 1024 * 1024;

#[derive(Debug, Subcommand)]
pub(crate) enum InventoryCommand {
    /// Import machines from a file: all or none
    #[command(after_help = "Examples:
  hallmark inventory import machines.csv --dry-run
  hallmark inventory import machines.json --reason 'delivery of 2027-02'
  hallmark inventory import all-machines.csv --replace --yes

A CSV file begins with ek_sha256,serial,owner,labels,expires; labels are written site=berlin;rack=7.
A JSON file is an array of objects with the same names; labels are an object.
A machine whose TPM has several EKs lists them in ek_sha256: HASH;HASH in CSV, an array in JSON.")]
    Import(Import),
    /// List the inventory
    List,
    /// Print the inventory in a form that can be imported
    Export {
        /// The form; CSV when left out, JSON with `-o json` or `-o yaml`
        #[arg(long, value_enum)]
        format: Option<FileForm>,
    },
    /// Remove machines from the inventory
    Remove {
        /// The EK's hash or Name, or the start of it; of a machine with several EKs, any one
        #[arg(required = true, value_name = "EK")]
        eks: Vec<String>,
        /// Why, for the record
        #[arg(long, value_name = "TEXT", default_value = "")]
        reason: String,
        #[command(flatten)]
        how: Destruction,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct Import {
    /// The file
    file: PathBuf,
    /// Its form; by its ending when left out
    #[arg(long, value_enum)]
    format: Option<FileForm>,
    /// Take out what the file does not have
    #[arg(long)]
    replace: bool,
    /// Let retired machines that the file names come back
    #[arg(long)]
    readmit: bool,
    /// Why, for the record
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    #[command(flatten)]
    how: Destruction,
}

/// The form of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FileForm {
    Csv,
    Json,
}

impl FileForm {
    const fn name(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Json => "json",
        }
    }

    fn of(file: &Path) -> Self {
        match file.extension().and_then(|ending| ending.to_str()) {
            Some(ending) if ending.eq_ignore_ascii_case("json") => Self::Json,
            _ => Self::Csv,
        }
    }
}

pub(crate) async fn run(context: &Context, command: InventoryCommand) -> Result<Exit, CliError> {
    let client = context.connect().await?;
    match command {
        InventoryCommand::Import(import) => import.run(context, &client).await,
        InventoryCommand::List => {
            let items = client.list_inventory().await?;
            show(context.format, &InventoryList::new(items))?;
            Ok(Exit::Done)
        }
        InventoryCommand::Export { format } => {
            let items: Vec<InventoryItem> = client.list_inventory().await?;
            let of_output = match context.format {
                Format::Table => FileForm::Csv,
                Format::Json | Format::Yaml => FileForm::Json,
            };
            let text = match format.unwrap_or(of_output) {
                FileForm::Csv => inventory::csv(&items)?,
                FileForm::Json => inventory::json(items)?,
            };
            write(&text)?;
            Ok(Exit::Done)
        }
        InventoryCommand::Remove { eks, reason, how } => remove(context, &client, &eks, reason, how).await,
    }
}

/// What shows whether a change was made.
const LOOK: &str = "hallmark inventory list";

impl Import {
    async fn run(self, context: &Context, client: &Client) -> Result<Exit, CliError> {
        let file = limited(&self.file, MAX_FILE)?;
        let mut imported = client
            .lifecycle()
            .import_inventory(self.parts(&file, true))
            .await?
            .into_inner();
        // Only what is destructive is asked about.
        let go_on = if imported.removed.is_empty() {
            !self.how.change.dry_run
        } else {
            let question = format!("take {} machines out of the inventory?", imported.removed.len());
            self.how.is_confirmed(&question)?
        };
        if go_on {
            imported = client
                .lifecycle()
                .import_inventory(self.parts(&file, false))
                .await
                .map_err(|status| CliError::of_change(status, LOOK))?
                .into_inner();
        }
        let view = ImportView::new(imported, self.how.change.dry_run);
        show(context.format, &view)?;
        Ok(if view.changes_something() {
            self.how.change.exit()
        } else {
            Exit::Done
        })
    }

    /// The messages of an import.
    fn parts(&self, file: &[u8], dry_run: bool) -> tokio_stream::Iter<std::vec::IntoIter<ImportInventoryRequest>> {
        let first = ImportInventoryRequest {
            format: self
                .format
                .unwrap_or_else(|| FileForm::of(&self.file))
                .name()
                .to_owned(),
            replace: self.replace,
            readmit: self.readmit,
            dry_run,
            reason: self.reason.clone(),
            data: bytes::Bytes::new(),
        };
        let parts = file.chunks(PART).map(|part| ImportInventoryRequest {
            data: bytes::Bytes::copy_from_slice(part),
            ..ImportInventoryRequest::default()
        });
        let parts: Vec<_> = std::iter::once(first).chain(parts).collect();
        tokio_stream::iter(parts)
    }
}

async fn remove(
    context: &Context,
    client: &Client,
    eks: &[String],
    reason: String,
    how: Destruction,
) -> Result<Exit, CliError> {
    let eks = lookup::inventory(client, eks).await?;
    if how.is_confirmed(&format!("take {} out of the inventory?", eks.join(", ")))? {
        let request = RemoveInventoryRequest {
            eks: eks.clone(),
            dry_run: false,
            reason,
        };
        let removed = client.lifecycle().remove_inventory(request).await;
        removed.map_err(|status| CliError::of_change(status, LOOK))?;
    }
    let view = RemovalView {
        removed: eks,
        dry_run: how.change.dry_run,
    };
    show(context.format, &view)?;
    Ok(how.change.exit())
}
