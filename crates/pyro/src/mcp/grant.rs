//! Host paths that models may name: only those below directories that the person who started the server has granted.
//!
//! The path that goes on is the resolved one, so a link below a grant leads nowhere else.

use std::path::{Path, PathBuf};

use pyro_api::{Error, Result};
use serde_json::Value;

/// The granted directories, resolved.
#[derive(Debug)]
pub(super) struct Grants(Vec<PathBuf>);

impl Grants {
    pub(super) fn new(paths: &[PathBuf]) -> Result<Self> {
        let resolved = paths.iter().map(|path| {
            let real =
                path.canonicalize().map_err(|error| Error::invalid(format!("--allow-path {}", path.display())).because(error))?;
            match real.is_dir() {
                true => Ok(real),
                false => Err(Error::invalid(format!("--allow-path {} is not a directory", path.display()))),
            }
        });
        Ok(Self(resolved.collect::<Result<_>>()?))
    }

    /// Refuses a request that names something outside, and resolves what it names. What is in the fields `made` need not be there: it is made in a
    /// directory that is.
    pub(super) fn check(&self, fields: &[&str], made: &[&str], request: &mut Value) -> Result<()> {
        for field in fields {
            if let Some(Value::String(path)) = request.get_mut(*field) {
                *path = self.resolved(field, path, made.contains(field))?;
            }
        }
        Ok(())
    }

    fn resolved(&self, field: &str, text: &str, is_made: bool) -> Result<String> {
        let path = Path::new(text);
        if !path.is_absolute() {
            return Err(Error::invalid(format!("{field} {text:?} is not an absolute path")).hint("begin it with /"));
        }
        let refused = || {
            let error = Error::invalid(format!("{field} {text:?} is not below a directory that this server may read"));
            match self.0.as_slice() {
                [] => error.hint("a person can allow one: pyro mcp serve --allow-path DIR"),
                roots => {
                    let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
                    error.hint(format!("it may read below {}; --allow-path adds others", roots.join(", ")))
                }
            }
        };
        // What is outside is refused in the same words whether it exists or not.
        let Some(real) = path.canonicalize().ok().or_else(|| is_made.then(|| place(path)).flatten()) else {
            let below = self.0.iter().any(|root| path.starts_with(root));
            return Err(if below { Error::not_found(format!("{field} {text:?} does not exist")) } else { refused() });
        };
        if !self.0.iter().any(|root| real.starts_with(root)) {
            return Err(refused());
        }
        real.into_os_string()
            .into_string()
            .map_err(|_| Error::invalid(format!("{field} {text:?} leads to a name that is not valid UTF-8")))
    }
}

/// Where something would be made: its name in a directory that is there. A link of that name is not followed, and nothing is made in its place.
fn place(path: &Path) -> Option<PathBuf> {
    Some(path.parent()?.canonicalize().ok()?.join(path.file_name()?))
}
