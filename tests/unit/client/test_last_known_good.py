"""The files that a service starts from: whole or not used, private, one process each."""

import errno
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from central_hub_client.last_known_good import GENERATIONS, LastKnownGood, Remembered, file_name
from tests.unit.client.objects import SERVICE, config_object


def store(cache_dir: Path | None, instance_id: str | None = None) -> LastKnownGood:
    return LastKnownGood(cache_dir, SERVICE, "default", instance_id)


def load(files: LastKnownGood) -> Remembered | None:
    """What a start begins with."""
    return next(files.candidates(), None)


def open_and_load(files: LastKnownGood) -> Remembered | None:
    files.open()
    return load(files)


def save(cache_dir: Path, *revisions: int, instance_id: str | None = None) -> Path:
    """Save these revisions and let go; returns the directory."""
    files = store(cache_dir, instance_id)
    open_and_load(files)
    for revision in revisions:
        files.save(Remembered(config_object(revision), confirmed_at=1000.0 + revision))
    directory = files.directory
    files.close()
    assert directory is not None
    return directory


def run_in_a_mount_namespace(script: str) -> subprocess.CompletedProcess[str]:
    """Run Python where mounting is seen by nobody else."""
    command = ["unshare", "--mount", sys.executable, "-c", textwrap.dedent(script)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.stderr.startswith("unshare:"):
        pytest.skip("unsharing the mount namespace is not allowed here")
    return done


def generations(directory: Path) -> list[Path]:
    return sorted(directory.glob("generation-*"))


def loaded_revision(cache_dir: Path) -> int | None:
    files = store(cache_dir)
    try:
        remembered = open_and_load(files)
    finally:
        files.close()
    return None if remembered is None else remembered.object.revision


def test_what_was_saved_last_is_loaded_with_the_time_at_which_it_was_confirmed(tmp_path: Path) -> None:
    save(tmp_path, 1, 2)
    files = store(tmp_path)
    remembered = open_and_load(files)
    files.close()
    assert remembered == Remembered(config_object(2), confirmed_at=1002.0)


def test_a_deletion_is_remembered_too(tmp_path: Path) -> None:
    files = store(tmp_path)
    files.open()
    files.save(Remembered(config_object(3, deleted=True), confirmed_at=0.0))
    files.close()
    remembered = load(store(tmp_path))
    assert remembered is not None
    assert remembered.object.deleted


def test_three_generations_are_kept(tmp_path: Path) -> None:
    directory = save(tmp_path, 1, 2, 3, 4, 5)
    assert len(generations(directory)) == GENERATIONS


def test_nobody_else_may_read_the_files(tmp_path: Path) -> None:
    directory = save(tmp_path, 1)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert {path.stat().st_mode & 0o777 for path in directory.iterdir()} == {0o600}


def test_an_object_that_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    save(tmp_path, 4)
    directory = save(tmp_path, 4, 4)
    assert len(generations(directory)) == 1
    assert generations(directory)[0].stat().st_mtime == 1004.0


def test_every_truncation_is_detected_and_the_generation_before_it_is_used(tmp_path: Path) -> None:
    newest = generations(save(tmp_path, 1, 2))[-1]
    whole = newest.read_bytes()
    for length in range(len(whole)):
        newest.write_bytes(whole[:length])
        assert loaded_revision(tmp_path) == 1, f"cut to {length} bytes"


def test_every_flipped_bit_is_detected_and_the_generation_before_it_is_used(tmp_path: Path) -> None:
    newest = generations(save(tmp_path, 1, 2))[-1]
    whole = newest.read_bytes()
    files = store(tmp_path)
    for offset in range(len(whole)):
        for bit in range(8):
            damaged = bytearray(whole)
            damaged[offset] ^= 1 << bit
            newest.write_bytes(damaged)
            remembered = load(files)
            assert remembered is not None
            assert remembered.object.revision == 1, f"bit {bit} of byte {offset}"


def test_bytes_after_the_end_are_detected(tmp_path: Path) -> None:
    newest = generations(save(tmp_path, 1, 2))[-1]
    newest.write_bytes(newest.read_bytes() + b" ")
    assert loaded_revision(tmp_path) == 1


def test_when_every_generation_is_damaged_nothing_is_used_and_the_next_save_mends_it(tmp_path: Path) -> None:
    for path in generations(save(tmp_path, 1, 2, 3)):
        path.write_bytes(b"garbage")
    assert loaded_revision(tmp_path) is None
    save(tmp_path, 4)
    assert loaded_revision(tmp_path) == 4


def test_a_damaged_newest_generation_is_replaced_although_its_predecessor_was_loaded(tmp_path: Path) -> None:
    generations(save(tmp_path, 1, 2))[-1].write_bytes(b"garbage")
    directory = save(tmp_path, 1)
    assert loaded_revision(tmp_path) == 1
    assert generations(directory)[-1].read_bytes() != b"garbage"


def test_a_file_of_another_service_is_not_used(tmp_path: Path) -> None:
    directory = save(tmp_path, 7)
    other = tmp_path / "billing" / "default" / "instance"
    other.mkdir(parents=True)
    (other / generations(directory)[0].name).write_bytes(generations(directory)[0].read_bytes())
    assert load(LastKnownGood(tmp_path, "billing", "default", None)) is None


def test_a_symbolic_link_is_not_followed(tmp_path: Path) -> None:
    directory = save(tmp_path, 1, 2)
    newest = generations(directory)[-1]
    newest.rename(tmp_path / "elsewhere")
    newest.symlink_to(tmp_path / "elsewhere")
    assert loaded_revision(tmp_path) == 1


@pytest.mark.skipif(os.geteuid() != 0, reason="giving a file to another user needs root")
def test_a_file_of_another_user_is_not_used(tmp_path: Path) -> None:
    newest = generations(save(tmp_path, 1, 2))[-1]
    os.chown(newest, 12345, 12345)
    assert loaded_revision(tmp_path) == 1


def test_two_processes_never_share_a_directory(tmp_path: Path) -> None:
    first, second = store(tmp_path), store(tmp_path)
    first.open()
    second.open()
    assert (first.slot, second.slot) == (1, 2)
    assert first.directory != second.directory
    first.close()
    third = store(tmp_path)
    third.open()
    assert third.slot == 1
    second.close()
    third.close()


def test_what_is_saved_while_the_directory_is_opened_is_the_newest(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    directory = save(tmp_path, 1, 2, 3)
    for number in range(2000):  # reading so many names takes the opening some time
        (directory / f"leftover-{number}.tmp").touch()
    files = store(tmp_path)
    opening = threading.Thread(target=files.open)
    opening.start()
    while opening.is_alive() and files.directory is None:
        time.sleep(0)
    files.save(Remembered(config_object(4), confirmed_at=1004.0))
    opening.join()
    files.save(Remembered(config_object(4), confirmed_at=1004.0))
    files.close()
    assert loaded_revision(tmp_path) == 4
    assert caplog.records == []


def test_the_lock_ends_with_the_process_that_held_it(tmp_path: Path) -> None:
    script = f"""
        import sys, time
        from pathlib import Path
        from central_hub_client.last_known_good import LastKnownGood
        files = LastKnownGood(Path({str(tmp_path)!r}), {SERVICE!r}, "default", None)
        files.open()
        print(files.slot, flush=True)
        time.sleep(60)
    """
    command = [sys.executable, "-c", textwrap.dedent(script)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "1\n"
        files = store(tmp_path)
        files.open()
        assert files.slot == 2
        files.close()
        holder.kill()
    files = store(tmp_path)
    files.open()
    assert files.slot == 1
    files.close()


def test_a_second_process_starts_from_what_the_first_one_knows(tmp_path: Path) -> None:
    first = store(tmp_path)
    first.open()
    first.save(Remembered(config_object(5), confirmed_at=0.0))
    second = store(tmp_path)
    remembered = open_and_load(second)
    assert remembered is not None
    assert remembered.object.revision == 5
    second.close()
    first.close()


def test_a_sibling_that_follows_another_hub_is_no_better_than_what_is_our_own(tmp_path: Path) -> None:
    save(tmp_path, 5, instance_id="ours")
    other = store(tmp_path, "other")
    other.open()
    other.save(Remembered(config_object(900, hub_id="hub-two"), confirmed_at=2000.0))
    other.close()
    remembered = load(store(tmp_path, "ours"))
    assert remembered is not None
    assert remembered.object.revision == 5


def test_without_a_directory_nothing_is_kept_and_nothing_fails() -> None:
    files = store(None)
    assert open_and_load(files) is None
    files.save(Remembered(config_object(1), confirmed_at=0.0))
    files.close()
    assert files.slot == 0


def test_a_cache_directory_that_is_a_file_is_tolerated(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    files = store(tmp_path / "file")
    assert open_and_load(files) is None
    files.save(Remembered(config_object(1), confirmed_at=0.0))
    files.close()


def test_a_full_disk_leaves_the_older_generations(tmp_path: Path) -> None:
    save(tmp_path, 1)
    script = f"""
        import resource, signal
        from pathlib import Path
        from central_hub_client.last_known_good import LastKnownGood, Remembered
        from tests.unit.client.objects import config_object
        files = LastKnownGood(Path({str(tmp_path)!r}), {SERVICE!r}, "default", None)
        files.open()
        # The kernel refuses to let any file grow beyond 200 bytes: as on a disk that is full in the middle of a write.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200, 200))
        files.save(Remembered(config_object(2), confirmed_at=0.0))
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, check=True)
    assert os.strerror(errno.EFBIG) in done.stderr
    assert loaded_revision(tmp_path) == 1
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_on_a_file_system_without_room_the_older_generations_stay(tmp_path: Path) -> None:
    script = f"""
        import subprocess
        from pathlib import Path
        from central_hub_client.last_known_good import LastKnownGood, Remembered
        from tests.unit.client.objects import config_object
        cache = Path({str(tmp_path)!r})
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", cache], check=True)
        files = LastKnownGood(cache, {SERVICE!r}, "default", None)
        files.open()
        for revision in range(1, 30):
            files.save(Remembered(config_object(revision, {{"n": revision, "fill": "x" * 20_000}}), confirmed_at=0.0))
            assert next(files.candidates(), None) is not None
        (cache / "filler").write_bytes(b"x" * 2**20)
    """
    done = run_in_a_mount_namespace(script)
    assert os.strerror(errno.ENOSPC) in done.stderr
    assert "AssertionError" not in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_read_only_file_system_is_read_and_not_written(tmp_path: Path) -> None:
    save(tmp_path, 3)
    script = f"""
        import subprocess
        from pathlib import Path
        from central_hub_client.last_known_good import LastKnownGood, Remembered
        from tests.unit.client.objects import config_object
        subprocess.run(["mount", "--bind", "-o", "ro", {str(tmp_path)!r}, {str(tmp_path)!r}], check=True)
        files = LastKnownGood(Path({str(tmp_path)!r}), {SERVICE!r}, "default", None)
        files.open()
        print(next(files.candidates()).object.revision)
        files.save(Remembered(config_object(4), confirmed_at=0.0))
    """
    done = run_in_a_mount_namespace(script)
    assert done.stdout == "3\n", done.stderr
    assert loaded_revision(tmp_path) == 3


def test_killed_at_any_moment_of_a_save_a_whole_generation_is_left(tmp_path: Path) -> None:
    kills = 12
    script = f"""
        import itertools
        from pathlib import Path
        from central_hub_client.last_known_good import LastKnownGood, Remembered
        from tests.unit.client.objects import config_object
        files = LastKnownGood(Path({str(tmp_path)!r}), {SERVICE!r}, "default", None)
        files.open()
        found = next(files.candidates(), None)
        start = found.object.revision if found else 0
        print("ready", flush=True)
        for revision in itertools.count(start + 1):
            files.save(Remembered(config_object(revision, {{"n": revision, "fill": "x" * 20_000}}), confirmed_at=0.0))
            print(revision, flush=True)
    """
    last = 0
    for attempt in range(kills):
        command = [sys.executable, "-c", textwrap.dedent(script)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            time.sleep(0.01 + 0.003 * attempt)
            writer.send_signal(signal.SIGKILL)
            saved = [int(line) for line in writer.stdout.read().split("\n")[:-1]]
        last = max([last, *saved])
        found = loaded_revision(tmp_path)
        assert (found or 0) >= last, "what was saved was lost"
        last = found or 0
    assert last > 0


def test_loading_a_megabyte_is_quick(tmp_path: Path) -> None:
    files = store(tmp_path)
    files.open()
    large = {f"key-{number:05}": "x" * 90 for number in range(10_000)}
    files.save(Remembered(config_object(1, large), confirmed_at=0.0))
    files.close()
    took = []
    for _ in range(5):
        started = time.perf_counter()
        assert load(store(tmp_path)) is not None
        took.append(time.perf_counter() - started)
    print(f"loading 1 MB: {min(took) * 1000:.1f} ms at best, {max(took) * 1000:.1f} ms at worst")
    assert min(took) < 0.05


@pytest.mark.parametrize(
    "instance_id", ["../../etc", "a/b", "", ".", "..", ".hidden", "x" * 300, "a\nb", "a b", "ü", "~2", "a~2"]
)
def test_an_instance_id_never_leads_out_of_the_directory(instance_id: str) -> None:
    name = file_name(instance_id)
    assert name.startswith("id-")
    assert len(name) < 60


def test_harmless_instance_ids_are_readable() -> None:
    assert file_name("web-1.example_com") == "web-1.example_com"


def test_signing_keys_are_remembered_for_the_hub_they_came_from(tmp_path: Path) -> None:
    files = store(tmp_path)
    files.open()
    files.save_keys("https://hub", (b"k" * 32,))
    files.close()
    assert store(tmp_path).load_keys("https://hub") == (b"k" * 32,)
    assert store(tmp_path).load_keys("https://another") == ()
