//! Where the verbs that speak to a cluster run: one thread is enough for one person.

#[derive(Debug, thiserror::Error)]
#[error("this process may not start what it needs: raise its limit of open files")]
pub(crate) struct RuntimeError(#[source] std::io::Error);

/// Runs this to its end.
pub(crate) fn run<T>(work: impl Future<Output = T>) -> Result<T, RuntimeError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(RuntimeError)?;
    Ok(runtime.block_on(work))
}
