//! Outside processes that never outlive us.
//!
//! A small process, the supervisor, starts them and holds them. It ends them all, newest first, when the pipe to its parent
//! closes, which happens whatever becomes of the parent: a return, a panic, Ctrl-C, SIGKILL. (Destructors would not do: statics
//! are never dropped, and a killed process drops nothing.) Then it removes the folder of the run. It lives in a process group of its
//! own, so that Ctrl-C reaches the parent alone, and the order in which things stop is the parent's.
//!
//! - `protocol`: what parent and supervisor say to each other, a line of JSON each;
//! - `process`: the supervisor itself;
//! - `handle`: the parent's side, [`Supervisor`];
//! - `pipe`: what both handles share, requests down and states up;
//! - `child`: one process of it, [`Child`];
//! - `run`: the folder of a run, and the removal of those that a killed supervisor left.

mod child;
mod failure;
mod handle;
mod pipe;
mod process;
mod protocol;
mod run;

pub use child::{Child, ChildError};
pub use failure::SupervisorError;
pub use handle::Supervisor;
pub use process::main;
pub use protocol::{ChildSpec, Exit, Signal};
