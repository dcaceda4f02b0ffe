//! The tables of the state, held against what the journal says of their rows.

use std::{path::Path, sync::Arc};

use hallmark_spiffe::{SpiffeId, TrustDomain};
use hallmark_state::{AttestationState, NodeFacts, journal::sha256};
use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    assignment_row, authority_row, ek_certificate_row, entry_row, evidence_row,
    fold::{Fold, Place, Said, content},
    inventory_row, json, link_row, load, node_row, unread,
    verify::VerifiedJournal,
};
use crate::StoreError;

/// EK certificates that are read at once.
const PAGE: u32 = 200;

/// Compares every row of the state's tables with `fold`.
///
/// # Errors
/// When the store cannot be read.
pub(super) fn compare(
    path: &Path,
    connection: &Connection,
    trust_domain: &TrustDomain,
    fold: Fold,
    verified: &mut VerifiedJournal,
) -> Result<(), StoreError> {
    let mut comparing = Comparing {
        path,
        connection,
        fold,
        verified,
    };
    comparing.entries(trust_domain)?;
    comparing.nodes()?;
    comparing.evidence()?;
    let machines = comparing.machines();
    comparing.told("machine_eks", machines)?;
    let certificates = comparing.certificates();
    comparing.told("ek_certificates", certificates)?;
    comparing.settings()?;
    comparing.role_svids()?;
    let meta = comparing.meta();
    comparing.told("meta", meta)?;
    comparing.missing();
    Ok(())
}

struct Comparing<'a> {
    path: &'a Path,
    connection: &'a Connection,
    fold: Fold,
    verified: &'a mut VerifiedJournal,
}

impl Comparing<'_> {
    fn entries(&mut self, trust_domain: &TrustDomain) -> Result<(), StoreError> {
        self.each(load::ENTRIES, 1, entry_row::read, |comparing, key, entry| {
            let place = Place::new("entries", key);
            if let Ok(entry) = &entry {
                comparing.row(place, content::entry(Arc::new(entry.clone())));
            } else {
                comparing.fold.rows.remove(&place);
            }
            let undecodable = entry.as_ref().err().cloned();
            if let Err(reason) = entry_row::allowed(entry, trust_domain)? {
                comparing.verified.left_out.insert(key.to_owned(), reason);
            }
            undecodable
                .into_iter()
                .for_each(|error| comparing.verified.differs(error));
            Ok(())
        })
    }

    fn nodes(&mut self) -> Result<(), StoreError> {
        self.each(load::NODES, 1, node_row::read, |comparing, key, node| {
            match node {
                Ok(node) => {
                    comparing.row(Place::new("agents", key), content::node(&node));
                    let verdict = content::verdict(&node.id, node.appraised);
                    comparing.part(Place::part("agents", key, "verdict"), verdict);
                }
                Err(error) => {
                    comparing.fold.rows.remove(&Place::new("agents", key));
                    comparing.fold.rows.remove(&Place::part("agents", key, "verdict"));
                    comparing.verified.differs(error);
                }
            }
            Ok(())
        })?;
        self.rows(load::INVENTORY, inventory_row::read, |line| {
            (line.ek.to_string(), content::line(Arc::new(line)))
        })?;
        self.rows(load::TPM_NAMES, link_row::read_name, |name| {
            (name.name.to_string(), content::tpm_name(&name))
        })
    }

    fn evidence(&mut self) -> Result<(), StoreError> {
        // What does not read back was told by then.
        let held = match evidence_row::held(self.path, self.connection, |id| id) {
            Ok(held) => held,
            Err(error) => return self.told("evidence", Err(error)),
        };
        for row in held {
            let node = &row.node;
            match AttestationState::read(&row) {
                Ok(state) => self.row(Place::new("evidence", node), content::evidence(node, Arc::new(state))),
                Err(error) => {
                    self.fold.rows.remove(&Place::new("evidence", node));
                    self.verified.differs(error.into());
                }
            }
            let kept = evidence_row::find(self.path, self.connection, node);
            if let Some(kept) = self.verified.told(kept)?.flatten() {
                self.part(Place::part("evidence", node, "file"), sha256(kept.file.as_bytes()));
                self.facts(node, "facts", kept.facts);
                // Facts that do not read back are nobody's earlier ones.
                match kept.earlier.is_empty() {
                    true => drop(self.fold.rows.remove(&Place::part("evidence", node, "earlier"))),
                    false => self.facts(node, "earlier", kept.earlier),
                }
            }
        }
        Ok(())
    }

    /// Facts, which the rules read.
    fn facts(&mut self, node: &SpiffeId, part: &'static str, facts: String) {
        let place = Place::part("evidence", node, part);
        let content = sha256(facts.as_bytes());
        let (node, revision) = (node.clone(), 0);
        match (NodeFacts { node, facts, revision }).read() {
            Ok(_) => self.part(place, content),
            Err(error) => {
                self.fold.rows.remove(&place);
                let (what, reason) = (told(&place), error.reason);
                self.verified.differs(StoreError::Undecodable { what, reason });
            }
        }
    }

    fn machines(&mut self) -> Result<(), StoreError> {
        for eks in link_row::machines(self.path, self.connection)? {
            for ek in &eks {
                self.row(Place::new("machine_eks", ek), content::machine(&eks));
            }
        }
        Ok(())
    }

    fn certificates(&mut self) -> Result<(), StoreError> {
        let mut after = None;
        loop {
            let page = ek_certificate_row::page(self.path, self.connection, after.as_ref(), PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            after = Some(last.ek_sha256);
            for certificate in page {
                let place = Place::new("ek_certificates", json::hex(&certificate.ek_sha256));
                self.row(place, sha256(certificate.certificate.as_bytes()));
            }
        }
    }

    fn settings(&mut self) -> Result<(), StoreError> {
        self.rows(authority_row::AUTHORITIES, authority_row::read, |authority| {
            let key = Place::of_authority(&authority.certificate).key;
            (key, content::authority(Arc::new(authority)))
        })?;
        self.rows(authority_row::JWT_KEYS, authority_row::read_jwt_key, |key| {
            (key.key_id.clone(), content::jwt_key(Arc::new(key)))
        })?;
        self.rows(
            authority_row::PUBLISHED_JWT_KEYS,
            authority_row::read_published_jwt_key,
            |key| (key.key_id.clone(), content::published_jwt_key(Arc::new(key))),
        )?;
        self.rows(authority_row::UPSTREAM, authority_row::read_upstream, |upstream| {
            ("1".to_owned(), content::upstream(Arc::new(upstream)))
        })?;
        self.rows(load::POLICY_FILES, load::policy_file, |file| {
            (
                format!("{} {}", file.kind, file.name),
                content::policy_file(Arc::new(file)),
            )
        })?;
        self.rows(load::IMAGE_ASSIGNMENTS, assignment_row::read, |it| {
            (it.ek.to_string(), content::image_assignment(Arc::new(it)))
        })?;
        self.rows(load::REQUESTS, load::request, |(node, action, requests)| {
            let key = format!("{node} {}", action.as_str());
            (key, content::requests(&node, action, &requests))
        })
    }

    /// A row that does not read back is told, and keeps nobody from looking at the other tables; of its own, nothing more is said.
    fn told(&mut self, table: &str, compared: Result<(), StoreError>) -> Result<(), StoreError> {
        if self.verified.told(compared)?.is_none() {
            self.fold.rows.retain(|place, _| place.table != table);
        }
        Ok(())
    }

    fn role_svids(&mut self) -> Result<(), StoreError> {
        self.rows(ROLE_SVIDS, role_svid, |(serial, said)| (serial, said))
    }

    fn meta(&mut self) -> Result<(), StoreError> {
        for key in ["rules", "bundle_sequence"] {
            let text: Option<String> = self
                .connection
                .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| row.get(0))
                .optional()
                .map_err(|e| unread::of_key(self.path, "meta", key, &e))?;
            if let Some(text) = text {
                self.row(Place::new("meta", key), sha256(text.as_bytes()));
            }
        }
        Ok(())
    }

    /// Rows that are put whole, and whose key is in the value.
    fn rows<T>(
        &mut self,
        rows: load::Rows,
        read: load::Read<T>,
        content: impl Fn(T) -> (String, [u8; 32]),
    ) -> Result<(), StoreError> {
        let (table, keys, ..) = rows;
        self.each(rows, keys, read, |comparing, key, value| {
            match value.map(&content) {
                Ok((key, content)) => comparing.row(Place::new(table, key), content),
                Err(error) => {
                    comparing.fold.rows.remove(&Place::new(table, key));
                    comparing.verified.differs(error);
                }
            }
            Ok(())
        })
    }

    fn each<T>(
        &mut self,
        rows: load::Rows,
        keys: usize,
        read: load::Read<T>,
        mut take: impl FnMut(&mut Self, &str, Result<T, StoreError>) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        load::each(self.path, self.connection, rows, read, |row, value| {
            take(self, &unread::key(row, keys), value)
        })
    }

    /// A row with this content.
    fn row(&mut self, place: Place, content: [u8; 32]) {
        match self.fold.rows.remove(&place) {
            None if self.verified.whole_after > 0 => self.verified.unchecked += 1,
            None => {
                let how = "expected no row: no record put it".to_owned();
                self.verified.apart(unread::row_of(place.table, &place.key), 0, how);
            }
            Some(said) => {
                self.verified.checked += 1;
                self.must_be(&place, said, content);
            }
        }
    }

    /// A part of a row that the journal may say nothing of by itself.
    fn part(&mut self, place: Place, content: [u8; 32]) {
        if let Some(said) = self.fold.rows.remove(&place) {
            self.must_be(&place, said, content);
        }
    }

    fn must_be(&mut self, place: &Place, Said { revision, content }: Said, found: [u8; 32]) {
        if content == Some(found) {
            return;
        }
        let expected = content.map_or_else(
            || format!("expected no row: record {revision} removed it"),
            |content| format!("expected content with the SHA-256 {}", json::hex(&content)),
        );
        let how = format!("{expected}, found {}", json::hex(&found));
        self.verified.apart(told(place), revision, how);
    }

    /// What the journal has and no table does.
    fn missing(&mut self) {
        for (place, Said { revision, content }) in std::mem::take(&mut self.fold.rows) {
            // Where a row is missing, its parts are.
            if content.is_some() && place.part.is_empty() {
                let how = format!("expected the row that record {revision} put, found none");
                self.verified.apart(told(&place), revision, how);
            }
        }
    }
}

fn told(place: &Place) -> String {
    let row = unread::row_of(place.table, &place.key);
    match place.part {
        "" => row,
        part => format!("the {part} of {row}"),
    }
}

const ROLE_SVIDS: load::Rows = ("role_svids", 1, "serial, agent, issued_at, expires_at", "serial");

fn role_svid(row: &Row<'_>) -> rusqlite::Result<Result<(String, [u8; 32]), StoreError>> {
    let (serial, agent): ([u8; 16], String) = (row.get(0)?, row.get(1)?);
    let (issued_at, expires_at) = (row.get(2)?, row.get(3)?);
    let serial = u128::from_be_bytes(serial);
    let key = format!("{serial:032x}");
    let what = || unread::row_of("role_svids", &key);
    let agent = SpiffeId::parse(&agent).map_err(|error| json::undecodable(&what, &error));
    Ok(agent.map(|agent| (key.clone(), content::role_svid(serial, &agent, issued_at, expires_at))))
}
