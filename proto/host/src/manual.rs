//! A program's manual, made of its command line.

use std::{fs, io, path::Path};

use clap::{Command, CommandFactory};
use clap_mangen::Man;

/// Writes a page for the program and one for each of its commands into `folder`, which is made where it is missing:
/// `NAME.SECTION`, `NAME-COMMAND.SECTION` (man-pages(7)). Hidden commands have none.
///
/// # Errors
/// The folder or a file cannot be written.
pub fn write_manual<P: CommandFactory>(section: &str, folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    let mut program = P::command().disable_help_subcommand(true);
    program.build();
    write(program, section, folder)
}

fn write(command: Command, section: &str, folder: &Path) -> io::Result<()> {
    for below in command.get_subcommands().filter(|below| !below.is_hide_set()) {
        write(below.clone(), section, folder)?;
    }
    Man::new(command).section(section).generate_to(folder).map(drop)
}

#[cfg(test)]
mod tests {
    use clap::{Parser, Subcommand};

    use super::*;

    /// Does something.
    #[derive(Parser)]
    #[command(name = "program", version = "1.2.3")]
    struct Program {
        #[command(subcommand)]
        _command: Verb,
    }

    #[derive(Subcommand)]
    enum Verb {
        /// Shows things.
        #[command(subcommand)]
        Show(What),
        /// Nobody's business.
        #[command(hide = true)]
        Manual,
    }

    #[derive(Subcommand)]
    enum What {
        /// Shows one thing.
        Thing {
            /// Its name.
            #[arg(long)]
            name: String,
        },
    }

    #[test]
    fn each_command_that_is_not_hidden_has_a_page() {
        let folder = tempfile::tempdir().unwrap();
        let pages = folder.path().join("pages");
        write_manual::<Program>("8", &pages).unwrap();
        let mut names: Vec<_> = fs::read_dir(&pages)
            .unwrap()
            .map(|file| file.unwrap().file_name())
            .collect();
        names.sort();
        assert_eq!(names, ["program-show-thing.8", "program-show.8", "program.8"]);
        let page = fs::read_to_string(pages.join("program-show-thing.8")).unwrap();
        assert!(page.contains("Shows one thing") && page.contains("Its name"), "{page}");
    }
}
