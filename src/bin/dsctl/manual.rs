//! `dsctl completions` and `dsctl man`: the command line in the words of shells and of `man`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory};
use feedstock::Error;

use crate::{Cli, Done, Global, output};

/// Print the completions of a shell: `source <(dsctl completions bash)`.
#[derive(Debug, Args)]
pub(crate) struct Completions {
    /// The shell.
    #[arg(value_enum)]
    shell: clap_complete::Shell,
}

impl Completions {
    pub(crate) fn run(self) -> Done {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "dsctl", &mut script);
        output::raw(&script);
        Ok(ExitCode::SUCCESS)
    }
}

/// Print the manual page, or write those of all verbs into a folder.
#[derive(Debug, Args)]
pub(crate) struct Man {
    /// Write dsctl.1 and dsctl-VERB.1 into this folder.
    folder: Option<PathBuf>,
}

impl Man {
    pub(crate) fn run(self, global: &Global) -> Done {
        let Some(folder) = self.folder else {
            let mut page = Vec::new();
            let rendered = clap_mangen::Man::new(Cli::command()).render(&mut page);
            rendered.map_err(|e| Error::library("writing the manual", e))?;
            output::raw(&page);
            return Ok(ExitCode::SUCCESS);
        };
        std::fs::create_dir_all(&folder).map_err(|e| Error::io(&folder, "create", e))?;
        clap_mangen::generate_to(Cli::command(), &folder).map_err(|e| Error::io(&folder, "write into", e))?;
        output::note(global, format!("note: read them with man -M or man {}/dsctl.1", folder.display()));
        Ok(ExitCode::SUCCESS)
    }
}
