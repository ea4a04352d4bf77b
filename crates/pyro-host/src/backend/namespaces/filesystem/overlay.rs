//! The overlays of a sandbox: layers of the host, made by descriptor or, on older kernels, by name.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use pyro_sys::beneath::{self, Mounts};
use pyro_sys::files;
use pyro_sys::mount::{self, Refuses, Setting};
use pyro_sys::userns::UserNamespace;

use super::as_inside_root;
use crate::backend::StackMount;
use crate::backend::namespaces::Layers;
use crate::backend::namespaces::plan::{Overlay, Plan};

/// One overlay.
pub(super) enum Stack {
    /// Made. Its layers are kept open: making and closing their mounts takes most of the time of an overlay that has many, and the next may stand on the same.
    Mounted { overlay: OwnedFd, layers: Vec<OwnedFd> },
    /// To be made by name: the layers, uppermost first, then the mount that holds upper and work.
    Layers(Vec<OwnedFd>),
}

impl Stack {
    /// How many descriptors it takes, 0 when it is made.
    pub(super) fn shape(&self) -> u8 {
        match self {
            Self::Mounted { .. } => 0,
            Self::Layers(layers) => u8::try_from(layers.len()).unwrap_or(u8::MAX),
        }
    }

    /// Its descriptors.
    pub(super) fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        match self {
            Self::Mounted { overlay, .. } => vec![overlay.as_fd()],
            Self::Layers(layers) => layers.iter().map(AsFd::as_fd).collect(),
        }
    }

    /// The overlay, if it is made, and its lower layers by name for the next one.
    pub(super) fn into_overlay(self, of: &StackMount) -> Option<(OwnedFd, Kept)> {
        match self {
            Self::Mounted { overlay, layers } => {
                let mut layers = layers.into_iter();
                let lowers = of.lowers.iter().cloned().zip(layers.by_ref()).collect();
                Some((overlay, Kept { lowers, writable: layers.collect() }))
            }
            Self::Layers(_) => None,
        }
    }

    /// Back from what was sent. `None` when something is missing.
    pub(super) fn from_descriptors(shape: u8, descriptors: &mut dyn Iterator<Item = OwnedFd>) -> Option<Self> {
        if shape == 0 {
            return descriptors.next().map(|overlay| Self::Mounted { overlay, layers: Vec::new() });
        }
        let layers: Vec<OwnedFd> = descriptors.take(usize::from(shape)).collect();
        (layers.len() == usize::from(shape)).then_some(Self::Layers(layers))
    }

    /// The overlay, attached nowhere: made now when it could not be before. In the first process only.
    pub(super) fn mounted(self, plan: &Plan, overlay: &Overlay) -> io::Result<OwnedFd> {
        match self {
            Self::Mounted { overlay, .. } => Ok(overlay),
            Self::Layers(layers) => by_name(plan, &layers, overlay),
        }
    }
}

/// Mounts of layers that never change again, attached nowhere and with ids as they are inside, by the paths of the layers.
#[derive(Debug, Default)]
pub struct Kept {
    lowers: BTreeMap<PathBuf, OwnedFd>,
    /// Those of the layers that are written to, for which there is no further use.
    writable: Vec<OwnedFd>,
}

impl Kept {
    /// Those of both.
    pub fn extend(&mut self, other: Self) {
        self.lowers.extend(other.lowers);
        self.writable.extend(other.writable);
    }
}

/// Options of every overlay. No redirects and no metadata-only copies: an ordinary user cannot have them, and one semantics is
/// worth more; and a hostile layer could hold redirects.
const OVERLAY_OPTIONS: [(&str, &str); 3] = [("redirect_dir", "nofollow"), ("metacopy", "off"), ("index", "off")];

/// Makes one, or what is needed to make it. Of its lower layers those are taken that are kept, and made that are not.
pub(super) fn make(
    plan: &Plan,
    stack: &StackMount,
    overlay: &Overlay,
    how: Layers,
    user_namespace: &UserNamespace,
    kept: &mut Kept,
) -> Result<Stack, (String, io::Error)> {
    let copy = |path: &Path| {
        let named = |error| (path.display().to_string(), error);
        let mount = mount::copy_of_host_path(path).map_err(named)?;
        if plan.translates_ids {
            mount::translate_ids(&mount, user_namespace).map_err(named)?;
        }
        Ok(mount)
    };
    let mut layers = Vec::with_capacity(stack.lowers.len() + 1);
    for lower in &stack.lowers {
        layers.push(kept.lowers.remove(lower).map_or_else(|| copy(lower), Ok)?);
    }
    layers.push(copy(&overlay.writable)?);
    if how == Layers::ByName {
        return Ok(Stack::Layers(layers));
    }
    match overlay_of(plan, &layers, overlay) {
        Ok(overlay) => Ok(Stack::Mounted { overlay, layers }),
        // Linux before 6.15 takes no detached mounts as layers (and before 6.13 no descriptors at all). Any other reason for this
        // error shows when the overlay is made the other way.
        Err((_, error)) if error.raw_os_error() == Some(22) => Ok(Stack::Layers(layers)),
        Err(other) => Err(other),
    }
}

fn overlay_of(plan: &Plan, layers: &[OwnedFd], overlay: &Overlay) -> Result<OwnedFd, (String, io::Error)> {
    let Some((writable, lowers)) = layers.split_last() else {
        return Err(("no layers".to_owned(), io::ErrorKind::InvalidInput.into()));
    };
    // One mount for both: overlay demands it.
    let place = |path: &Path| beneath::directory(writable, path, Mounts::Stay).map_err(|error| (path.display().to_string(), error));
    let (upper, work) = (place(&overlay.upper)?, place(&overlay.work)?);
    let mut settings: Vec<Setting<'_>> = Vec::with_capacity(lowers.len() + 8);
    settings.push(Setting::Text("source", "pyro"));
    settings.extend(lowers.iter().map(|lower| Setting::Descriptor("lowerdir+", lower.as_fd())));
    settings.push(Setting::Descriptor("upperdir", upper.as_fd()));
    settings.push(Setting::Descriptor("workdir", work.as_fd()));
    settings.extend(OVERLAY_OPTIONS.iter().map(|(name, value)| Setting::Text(name, value)));
    if plan.nested {
        settings.push(Setting::Flag("userxattr"));
    }
    if plan.volatile {
        settings.push(Setting::Flag("volatile"));
    }
    let failed = |error| ("mount".to_owned(), error);
    let context = mount::configure("overlay", &settings).map_err(failed)?;
    as_inside_root(plan, || mount::create(&context, ROOT_REFUSES)).map_err(failed)
}

/// No device nodes but those of `/dev`. Set-user-id means nothing inside anyway, as there are no new privileges.
const ROOT_REFUSES: Refuses = Refuses { writes: false, set_ids: true, devices: true, programs: false };

/// An overlay as kernels before 6.15 can have it: the layers are attached below the staging directory under short names.
/// The result is detached again; the staging mounts are taken away, as the overlay holds its layers itself.
fn by_name(plan: &Plan, layers: &[OwnedFd], overlay: &Overlay) -> io::Result<OwnedFd> {
    let staging = mount::new_filesystem("tmpfs", &[Setting::Text("source", "pyro")], Refuses::NOTHING)?;
    mount::attach_at_host_path(&staging, Path::new(&plan.staging))?;
    for (index, layer) in layers.iter().enumerate() {
        let name = index.to_string();
        files::make_directory(&staging, &name, 0o700)?;
        mount::attach(layer, beneath::directory(&staging, Path::new(&name), Mounts::Stay)?)?;
    }
    files::make_directory(&staging, "root", 0o700)?;
    // The names are looked up by the kernel from the working directory, which is ours alone: no link of a layer is on the way.
    files::enter(&staging)?;
    let writable = layers.len().saturating_sub(1);
    let lowers: Vec<String> = (0..writable).map(|index| index.to_string()).collect();
    let mut options = format!("lowerdir={}", lowers.join(":"));
    for (name, path) in [("upperdir", &overlay.upper), ("workdir", &overlay.work)] {
        let path = path.to_str().filter(|path| !path.contains([',', ':', '\\'])).ok_or(io::ErrorKind::InvalidInput)?;
        options.push_str(&format!(",{name}={writable}/{path}"));
    }
    for (name, value) in OVERLAY_OPTIONS {
        options.push_str(&format!(",{name}={value}"));
    }
    options.push_str(if plan.nested { ",userxattr" } else { "" });
    options.push_str(if plan.volatile { ",volatile" } else { "" });
    as_inside_root(plan, || mount::overlay_by_name(Path::new("root"), &options))?;
    let made = mount::copy(&staging, Path::new("root"))?;
    mount::detach_host_path(Path::new(&plan.staging))?;
    Ok(made)
}
