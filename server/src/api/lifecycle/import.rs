//! Importing a file.

use futures_util::{Stream, StreamExt as _};
use hallmark_api::admin::{ImportInventoryRequest, ImportInventoryResponse};
use hallmark_node::{EkId, Form, InventoryItem, read_inventory};
use hallmark_reason::Report;
use hallmark_state::decide::Import;
use tonic::Status;

use super::{LifecycleService, failed};
use crate::{
    caller::{self, Caller},
    nodes,
};

/// The largest file: a little more than is read, so that the reader says why it is not.
const MAX_BYTES: usize = 16 * 1024 * 1024 + 1;

impl LifecycleService {
    /// Reads the file and takes it in.
    ///
    /// # Errors
    /// `InvalidArgument` with the place that is wrong; `Unavailable` when the store does not take it.
    pub(super) async fn import(
        &self,
        by: &Caller,
        mut parts: impl Stream<Item = Result<ImportInventoryRequest, Status>> + Unpin,
    ) -> Result<ImportInventoryResponse, Status> {
        let empty = || Status::invalid_argument("an import begins with its format");
        let mut first = parts.next().await.ok_or_else(empty)??;
        let form = match first.format.as_str() {
            "csv" => Form::Csv,
            "json" => Form::Json,
            other => return Err(Status::invalid_argument(format!("unknown format {other:?}: csv, json"))),
        };
        let mut file = std::mem::take(&mut first.data).to_vec();
        while let Some(part) = parts.next().await {
            let part = part?.data;
            if file.len() + part.len() > MAX_BYTES {
                file.resize(MAX_BYTES, b' ');
                break;
            }
            file.extend_from_slice(&part);
        }
        let read = self.compute.run(move || read_inventory(&file, form)).await;
        let lines = read
            .map_err(|_| Status::unavailable("the server is stopping"))?
            .map_err(|error| Status::invalid_argument(Report(&error).to_string()))?;
        let import = Import {
            lines: &lines,
            replace: first.replace,
            readmit: first.readmit,
            dry_run: first.dry_run,
            reason: caller::reason(&first.reason)?,
        };
        let imported = nodes::import(&self.journal, import, &by.actor())
            .await
            .map_err(|error| failed(&error))?;
        // What is denied to one EK of a machine is denied to all.
        if let Err(error) = self.appraiser.judge_behind("the inventory").await {
            tracing::error!(%error, "the nodes could not be judged again");
        }
        let eks = |lines: &[InventoryItem]| lines.iter().map(|line| line.ek.to_string()).collect();
        let keys = |eks: &[EkId]| eks.iter().map(ToString::to_string).collect();
        Ok(ImportInventoryResponse {
            added: eks(&imported.plan.added),
            changed: eks(&imported.plan.changed),
            unchanged: u64::try_from(imported.plan.unchanged.len()).unwrap_or(u64::MAX),
            removed: keys(&imported.plan.removed),
            retired: keys(&imported.retired),
            readmitted: keys(&imported.readmitted),
            expired: keys(&imported.expired),
        })
    }
}
