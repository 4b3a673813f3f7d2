// The options about a run: which pictures are made, where they go, and what else the program can do.
#include <tuple>

#include "cli/option_fields.h"
#include "cli/values.h"
#include "sdgen/error.h"

namespace sdgen::cli {
namespace {

constexpr std::uint64_t kMaxBatch = 1024;

// Memory may not have sufficed for what was said; bytes depend on what was done.
OrderedJson recorded_batch(const PictureFacts& made, std::string_view) { return made.computation.batch_size; }

// --overwrite, --no-clobber and --skip-existing.
Field existing(Existing wanted) {
  return {.set = [wanted](Options& o, const Argument&) {
    if (o.output.existing && *o.output.existing != wanted)
      throw Error(Fault::usage, "--overwrite, --no-clobber and --skip-existing exclude each other");
    o.output.existing = wanted;
  }};
}

Field shards() {
  return {.value = {.kind = Value::Kind::text, .pattern = "[0-9]+/[0-9]+"},
          .set = [](Options& o, const Argument& a) { std::tie(o.run.shard, o.run.shards) = shard(a); }};
}

// What --format takes for each format.
std::vector<std::pair<std::string, const ImageFormat*>> format_words() {
  std::vector<std::pair<std::string, const ImageFormat*>> all;
  for (const ImageFormat* format : image_formats()) {
    if (format->alias != format->word) all.emplace_back(format->alias, format);
    all.emplace_back(format->word, format);
  }
  return all;
}

Field action(Action action) { return set_to(&ProcessOptions::action, action); }

std::vector<OptionRow> batch_section() {
  const Section in{"Batch", Scope::run};
  return {
      in.row("--prompts FILE", field(&RunOptions::prompts, path()),
             "a file with a picture a line (.txt: a prompt, then options like --seed 7; .jsonl; .csv or .tsv with a "
             "column 'prompt'); -: lines from stdin, drawn as they arrive"),
      in.row("--wildcards DIR", field(&RunOptions::wildcards, path(Value::Kind::folder)),
             "let prompts choose, by their seeds: {red|green}, {2$$a|b|c}, {3::often|rarely}, and __name__ for a line "
             "of DIR/name.txt")
          .from_environment(true),
      in.row("--sweep SPEC", field(&RunOptions::sweep, text()),
             "every combination of some options' values, on the same seeds: \"steps=10,20,30; guidance_scale=3,7\"; "
             "up to 20 by 20 with a contact sheet that has the values beside it, grid-NAME.png"),
      in.row("--batch-size N", field(&LoadOptions::batch_size, whole(1, kMaxBatch)),
             "pictures per network call (default: 1)")
          .about(Scope::model)
          .from_environment(true)
          .recorded(recorded_batch)
          .recorded_if(was_given, /*asks_what_was_given=*/true),
      in.row("--shard I/N", shards(),
             "make only the pictures whose index modulo N is I, 0/N to N-1/N: N such runs make the whole set, "
             "whatever N is"),
      in.row("--fail-fast", on(&RunOptions::fail_fast),
             "end at the first line, or picture of a folder, that fails (default: go on, and end with exit code 1)"),
  };
}

std::vector<OptionRow> output_section() {
  const Section in{"Output", Scope::run};
  return {
      in.row("-o --output PATH", output_file(),
             "a file, a folder, or a name with {index}, {index:06}, {seed}, {prompt}, {model}, {input}; -: the picture "
             "on stdout (default: sdgen-{seed}.png, for several pictures {index:05}-{seed}.png, of a folder's "
             "{input}-{seed}.png)"),
      in.row("--preview-every N", field(&OutputOptions::preview_every, whole(1, kMostSteps)),
             "write a preview every N steps, NAME.preview.png beside the picture, which is removed when the picture "
             "is finished; a rough sketch, unless --vae is a tiny autoencoder"),
      in.row("--show", on(&OutputOptions::show),
             "print every picture into the terminal on stderr: kitty's, iTerm2's or sixel graphics, else colours "
             "($SDGEN_SHOW: kitty, iterm, sixel or blocks, where a terminal is not recognized)"),
      in.row("--grid auto|COLSxROWS", field(&OutputOptions::grid, grid_type()),
             "also make a contact sheet, grid- and the name of its first picture, with seeds and what else differs; "
             "auto: as square as possible, 10x10 for more"),
      in.row("--format NAME", field(&OutputOptions::format, words<const ImageFormat*>(format_words())),
             "png, jpg, webp, avif or jxl (default: what the name after --output ends in, else png)")
          .from_environment(true),
      in.row(
          "--quality N", field(&OutputOptions::quality, whole(1, 100)),
          "how much of a picture is kept: 100 is the most (default: jpg 95, avif 90; png always, webp and jxl unless "
          "this is said, keep all)"),
      in.row("--overwrite", existing(Existing::replaced),
             "replace existing files (default: for one explicit name after --output alone)"),
      in.row("--no-clobber", existing(Existing::refused),
             "never replace a file (default: for names from templates, folders and defaults)"),
      in.row("--skip-existing", existing(Existing::kept),
             "make only the pictures whose files are missing; needs --seed"),
      in.row("--no-metadata", set_to(&OutputOptions::metadata, false),
             "do not write the prompt and settings into the picture"),
      no_mark_row(in),
      in.row("--manifest FILE", field(&OutputOptions::manifest, written_path()),
             "append a JSON line for every picture: all that is needed to make it again, its file, SHA-256 and "
             "timings (default, of --prompts alone: manifest.jsonl beside the pictures, with --shard "
             "manifest-I-of-N.jsonl)"),
      in.row("--no-manifest", on(&OutputOptions::no_manifest), "write none"),
      in.row("--expect FILE", field(&Inputs::expect, path()),
             "the picture that should come out; a difference beyond what the precision implies (float32: 1 of 255) is "
             "told, and exit code 1; see also sdgen verify")
          .about(Scope::picture),
      in.row("--json", on(&OutputOptions::json), "one JSON line a picture on stdout (default: its path)"),
      in.row("--progress FORM",
             field(&OutputOptions::progress,
                   words<ProgressForm>({{"text", ProgressForm::text}, {"json", ProgressForm::json}})),
             "text or json: how stderr tells of the progress; json: a line for every step, preview and finished "
             "picture, with --quiet too (--schema says what is in it; default: text)"),
  };
}

std::vector<OptionRow> other_section() {
  const Section in{"Other", Scope::process};
  return {
      in.row("--from-image PATH", field(&ProcessOptions::from_image, path()),
             "make a picture again that sdgen or AUTOMATIC1111 wrote: its settings count where the "
             "command line, or a line of --prompts, does not say otherwise; of a folder, or a pattern, each; see also "
             "sdgen inspect"),
      in.row("--config FILE", field(&ProcessOptions::config, path()),
             "a TOML file of options (steps = 30, lora = [\"a.safetensors\"]), used where nothing else sets them")
          .from_environment(true),
      in.row("--dry-run", on(&ProcessOptions::dry_run),
             "make nothing: say what would be made, where, and what memory and time it takes; with --json a line a "
             "picture and one of all"),
      in.row("-q --quiet", on(&OutputOptions::quiet), "nothing on stderr but errors").about(Scope::run),
      in.row("-v --verbose", on(&OutputOptions::verbose), "say what is done and how long it took").about(Scope::run),
      in.row("--list-schedulers", action(Action::list_schedulers), "print the schedulers and end"),
      in.row("--schema", action(Action::schema),
             "print a JSON Schema of what --prompts takes as lines of a .jsonl file, of what is recorded, and of "
             "--progress "
             "json, and end"),
      in.row("--version", action(Action::version), "print the version and end"),
      in.row("-h --help", action(Action::help), "print this and end"),
      in.row("--help-all", action(Action::help_all), "print more of this and end"),
  };
}

}  // namespace

std::vector<OptionRow> run_options() { return together(batch_section(), output_section(), other_section()); }

}  // namespace sdgen::cli
