//! host
use std::path::Path;
use pyro_api::Result;
use super::IdMode;
use super::manifest::Manifest;
pub(super) fn notes(_includes: &[String], _path: &[String]) -> Vec<String> { Vec::new() }
pub(super) fn build(_home: &Path, _d: &str, _m: IdMode, _i: &[String], _e: &[String]) -> Result<Manifest> { Err(pyro_api::Error::internal("x")) }
