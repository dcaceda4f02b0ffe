//! The process's memory, which holds secrets.

use rustix::{
    io,
    process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit},
};

/// No core dump, and no reading or tracing by other processes of the same user. To be called before the first secret is
/// read; it does not outlive an `exec`.
///
/// # Errors
/// The system refuses.
pub fn keep_memory_private() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    setrlimit(Resource::Core, none)
}

#[cfg(test)]
mod tests {
    use rustix::process::dumpable_behavior;

    use super::*;

    #[test]
    fn the_memory_of_a_process_is_its_own() {
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::Dumpable, "the control");
        keep_memory_private().unwrap();
        assert_eq!(dumpable_behavior().unwrap(), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core).current, Some(0));
        set_dumpable_behavior(DumpableBehavior::Dumpable).unwrap();
    }
}
