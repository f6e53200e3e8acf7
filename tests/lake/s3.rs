//! The lake in a real object store (SeaweedFS): whatever is killed when, and however bad the way there is, it is the one
//! that an undisturbed compactor makes in a directory, byte for byte. Skipped, with a line, without `weed`.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use lake::{Lake, LakeStore};
use s3::faults::Faults;
use s3::weed::Weed;

use super::kill_anywhere::{World, drain};
use crate::support::http::get;
use crate::support::{Dice, Service, both, runs, seed, tapedeck, wait_until};

/// The steps around each PUT, and those of the next start.
const STEPS: [&str; 12] = [
    "publish.before_part",
    "publish.before_join_trades",
    "publish.after_join_trades",
    "publish.after_rename_trades",
    "publish.before_manifest",
    "publish.after_manifest",
    "publish.after_ack",
    "publish.after_staging_removed",
    "publish.after_retire",
    "resume.before_cleanup",
    "resume.after_cleanup",
    "resume.after_ack",
];

/// A copy of the world's log whose lake is below `prefix` of the store at `endpoint`.
fn copy(world: &World, name: &str, prefix: &str, endpoint: &str) -> PathBuf {
    let (config, _) = world.copy(name);
    let mut text = std::fs::read_to_string(&config).unwrap();
    text = text.replace("[lake]\n", &format!("[lake]\ndir = \"s3://lake/{prefix}\"\n"));
    writeln!(text, "{}retry_s = 60", Weed::section(endpoint)).unwrap();
    std::fs::write(&config, text).unwrap();
    config
}

/// The objects are the files of the reference, and no others.
#[track_caller]
fn assert_same(world: &World, store: &dyn LakeStore, what: &str) {
    let reference = Lake::open(&world.reference);
    let keys = |store: &dyn LakeStore| -> Vec<String> {
        store.list("", None, None).unwrap().into_iter().map(|meta| meta.key).collect()
    };
    assert_eq!(keys(store), keys(&*reference), "{what}");
    for key in keys(store) {
        let bytes = |store: &dyn LakeStore| store.get(&key).unwrap().unwrap().all(u64::MAX).unwrap();
        assert!(bytes(store) == bytes(&*reference), "{what}: {key} is another one");
    }
}

#[test]
fn killed_at_any_step_and_over_a_bad_way_the_lake_in_the_store_is_the_one_in_a_directory() {
    let Some(weed) = Weed::start() else { return };
    let seed = seed("killed_compactor_s3");
    let mut dice = Dice::new(seed);
    let world = World::new(6_000);
    let faults = Faults::before(&weed.endpoint(), 25, seed);
    let mut killed = 0;
    for round in 0..runs(6) {
        let (name, prefix) = (format!("s3-{round}"), format!("killed/{round}"));
        let config = copy(&world, &name, &prefix, &faults.endpoint());
        // A kill at a step, and one at a random instant.
        if cfg!(debug_assertions) {
            let step = STEPS[dice.below(STEPS.len() as u64) as usize];
            let out = drain_with(&config, &[("TAPEDECK_FAILPOINT", step)]);
            killed += usize::from(out.status.code().is_none());
            println!("round {round}: {step}");
        }
        let service = Service::start_with("compactor", &["--drain"], &config, &Weed::env());
        std::thread::sleep(std::time::Duration::from_millis(dice.below(2_500)));
        service.kill();
        let out = drain_with(&config, &[]);
        assert!(out.status.success(), "round {round}: {}", both(&out));
        assert_same(&world, &*weed.store(&prefix), &format!("round {round}"));
        std::fs::remove_dir_all(world.root.join(&name)).unwrap();
    }
    println!("{killed} kills at a step; {:?}", faults.counts);
}

fn drain_with(config: &Path, env: &[(&str, &str)]) -> std::process::Output {
    let all: Vec<_> = Weed::env().into_iter().chain(env.iter().copied()).collect();
    drain(config, &all)
}

#[test]
fn two_compactors_of_one_log_make_one_lake_and_one_of_another_version_is_refused() {
    let Some(weed) = Weed::start() else { return };
    let world = World::new(6_000);
    // Two machines with the same log, at the same time, again and again.
    for round in 0..runs(3) {
        let prefix = format!("two/{round}");
        let names = ["a", "b"].map(|name| format!("{name}-{round}"));
        let configs = names.each_ref().map(|name| copy(&world, name, &prefix, &weed.endpoint()));
        let outs = std::thread::scope(|s| {
            let runs = configs.each_ref().map(|config| s.spawn(|| drain_with(config, &[])));
            runs.map(|run| run.join().unwrap())
        });
        for out in &outs {
            assert!(out.status.success(), "round {round}: {}", both(out));
            assert!(!both(out).contains("ERROR"), "round {round}: {}", both(out));
        }
        assert_same(&world, &*weed.store(&prefix), &format!("round {round}"));
    }
    if !cfg!(debug_assertions) {
        return;
    }
    // One dies before its manifest, and another version goes on elsewhere, with what it left.
    let dies = copy(&world, "dies", "versions", &weed.endpoint());
    let out = drain_with(&dies, &[("TAPEDECK_FAILPOINT", "publish.before_manifest")]);
    assert!(out.status.code().is_none(), "{}", both(&out));
    let newer = copy(&world, "newer", "versions", &weed.endpoint());
    let out = drain_with(&newer, &[("TAPEDECK_SCHEMA_VERSION", "2")]);
    let said = both(&out);
    assert!(
        !out.status.success() && said.contains("s3://lake/versions/") && said.contains("with other bytes"),
        "{said}"
    );
    let store = weed.store("versions");
    assert_eq!(store.list("_manifests", None, None).unwrap(), [], "nothing of the other version counts");
    // The first one goes on where it was.
    let out = drain_with(&dies, &[]);
    assert!(out.status.success(), "{}", both(&out));
    assert_same(&world, &*store, "after another version was refused");
}

#[test]
fn while_the_store_is_away_the_log_is_kept_and_it_goes_on_by_itself() {
    let Some(mut weed) = Weed::start() else { return };
    let world = World::new(6_000);
    let config = copy(&world, "away", "away", &weed.endpoint());
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace("retry_s = 60", "retry_s = 1")).unwrap();
    let listen = text.split("listen = \"").nth(1).unwrap().split('"').next().unwrap().to_owned();
    weed.kill();
    let service = Service::start("compactor", &config, &Weed::env());
    let health = || get(&listen, "/health").map(|(_, body)| body).unwrap_or_default();
    wait_until("health names the store", || health().contains("s3://lake/away"));
    let status = get(&listen, "/health").unwrap().0;
    assert_eq!(status, 503);
    assert!(weed.run(), "the store starts again");
    wait_until("the two whole hours are published", || {
        weed.store("away").list("_manifests", None, None).is_ok_and(|found| found.len() >= 2)
    });
    // No collector writes this log: of that it stays red.
    wait_until("health names the store no more", || health().contains("collector") && !health().contains("s3://"));
    service.stop();
    let out = drain_with(&config, &[]);
    assert!(out.status.success(), "{}", both(&out));
    assert_same(&world, &*weed.store("away"), "after the store was away");
    // What looks at a lake looks at this one too.
    for args in [&["verify"][..], &["quality"], &["replay", "--verify"], &["doctor"], &["config", "check"]] {
        let out = tapedeck().args(args).arg("--config").arg(&config).envs(Weed::env()).output().unwrap();
        println!("{args:?}: {}\n{}", out.status, both(&out));
        assert!(out.status.success() || args == ["doctor"], "{args:?}: {}", both(&out));
        assert!(!both(&out).contains(Weed::KEYS[1]), "a secret is shown");
        if args == ["doctor"] {
            assert!(both(&out).contains("conditions on writes hold"), "{}", both(&out));
        }
    }
}
