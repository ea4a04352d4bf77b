//! Edits: what is sent to the agent, and what its answer, a claim like every other, becomes for the caller.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use pyro_api::ops::edit::{EditStatus, EditedFile, FileEditRequest, FileEditResponse};
use pyro_api::{Error, ErrorKind, Result};
use pyro_wire::Violation;
use pyro_wire::edit::{self as wire, EditAnswer, EditOrder, RefusedKind};
use pyro_wire::untrusted::escape;

/// An edit on its way, and what the agent has said so far of it.
#[derive(Debug)]
pub struct Editing {
    /// The request as it is sent.
    pub order: Vec<u8>,
    /// So much of it.
    pub sent: usize,
    /// It is only told what would be done.
    pub dry_run: bool,
    /// At most [`pyro_wire::limits::EDIT_ANSWER_BYTES_MAX`].
    pub answer: Vec<u8>,
    /// Bytes of the answer that may still come.
    pub credit_left: u32,
}

impl Editing {
    /// What came of it.
    pub fn response(&self, workspace: &str) -> Result<Result<FileEditResponse>, Violation> {
        if self.sent < self.order.len() {
            return Err(Violation("an edit was answered before it was sent".to_owned()));
        }
        Ok(match EditAnswer::from_json(&self.answer)? {
            EditAnswer::Edited(edited) => Ok(FileEditResponse {
                workspace: workspace.to_owned(),
                dry_run: self.dry_run,
                files: edited.files.into_iter().map(edited_file).collect(),
                text: escape(&edited.text),
            }),
            EditAnswer::Refused(refused) => {
                let kind = match refused.kind {
                    RefusedKind::NotFound => ErrorKind::NotFound,
                    RefusedKind::Invalid => ErrorKind::Invalid,
                    RefusedKind::Conflict => ErrorKind::Conflict,
                    RefusedKind::Limit => ErrorKind::Limit,
                };
                Err(Error::new(kind, escape(&refused.text)))
            }
        })
    }
}

fn edited_file(file: pyro_wire::edit::EditedFile) -> EditedFile {
    EditedFile {
        path: escape(&file.path),
        status: match file.status {
            wire::EditStatus::Unchanged => EditStatus::Unchanged,
            wire::EditStatus::Created => EditStatus::Created,
            wire::EditStatus::Changed => EditStatus::Changed,
            wire::EditStatus::Moved => EditStatus::Moved,
            wire::EditStatus::Deleted => EditStatus::Deleted,
        },
        from: file.from.map(|from| escape(&from)),
        added_lines: file.added_lines,
        removed_lines: file.removed_lines,
        notes: file.notes.iter().map(|note| escape(note)).collect(),
    }
}

/// What is sent to the agent: replacements in one file that follow each other are one.
pub fn order_of(request: &FileEditRequest) -> Result<EditOrder> {
    let mut order = EditOrder { allow_git: request.allow_git, ..EditOrder::default() };
    let decoded = request.base64.as_ref().map(|text| STANDARD.decode(text.as_bytes())).transpose();
    let decoded = decoded.map_err(|error| Error::invalid("base64 content").because(error))?;
    if let Some(patch) = request.patch.as_ref().map(|text| text.as_bytes()).or(decoded.as_deref()) {
        order.patch = Some(patch.to_vec().into());
        return Ok(order);
    }
    let path = request.path.as_deref().unwrap_or_default();
    let mut add = |path: &str, edit: wire::TextEdit| match order.edits.last_mut() {
        Some(file) if file.path == path => file.edits.push(edit),
        Some(_) | None => order.edits.push(wire::FileEdits { path: path.to_owned(), edits: vec![edit] }),
    };
    if let (Some(old), Some(new)) = (&request.old, &request.new) {
        add(path, wire::TextEdit { old: old.clone(), new: new.clone(), all: request.all });
    }
    for edit in &request.edits {
        let text = wire::TextEdit { old: edit.old.clone(), new: edit.new.clone(), all: edit.all || request.all };
        add(edit.path.as_deref().unwrap_or(path), text);
    }
    Ok(order)
}
