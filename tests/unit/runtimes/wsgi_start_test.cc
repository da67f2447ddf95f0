// penstock-wsgi: its command line, where it finds what, and what it says when it cannot start.
#include "tests/unit/runtimes/wsgi_process.h"

#include <filesystem>
#include <fstream>
#include <gtest/gtest.h>
#include <string>

namespace penstock {
namespace {

namespace fs = std::filesystem;

// A folder that is removed again.
class Folder {
 public:
  Folder() {
    std::string name = (fs::temp_directory_path() / "penstock-wsgi-XXXXXX").string();
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  ~Folder() { fs::remove_all(path_); }
  void put(const std::string& name, const std::string& text) const {
    fs::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name) << text;
  }
  [[nodiscard]] std::string operator/(const std::string& name) const { return (path_ / name).string(); }
  [[nodiscard]] std::string path() const { return path_.string(); }

 private:
  fs::path path_;
};

struct Ended {
  int code = -1;
  std::string said;
};

Ended run_wsgi(std::vector<std::string> words) {
  words.insert(words.begin(), PENSTOCK_WSGI);
  const UniqueFd said(::memfd_create("stderr", MFD_CLOEXEC));
  const pid_t child = ::fork();
  if (child == 0) {
    ::dup2(said.get(), STDERR_FILENO);
    for (const auto& [name, value] : sanitizer_options()) ::setenv(name.c_str(), value.c_str(), 1);
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    argv.push_back(nullptr);
    ::execv(argv[0], argv.data());
    ::_exit(127);
  }
  int status = 0;
  EXPECT_EQ(::waitpid(child, &status, 0), child);
  std::string text(1 << 16, '\0');
  text.resize(static_cast<size_t>(::pread(said.get(), text.data(), text.size(), 0)));
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), text};
}

TEST(WsgiStart, says_what_is_wrong_with_its_command_line) {
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{}, "--app MODULE:CALLABLE is missing"},
      {{"--app"}, "--app wants a value"},
      {{"--app", ":x"}, "--app wants MODULE:CALLABLE, not ':x'"},
      {{"--app", "x:"}, "--app wants MODULE:CALLABLE, not 'x:'"},
      {{"--app", "x", "--threads", "0"}, "--threads wants a number from 1 to 1024, not '0'"},
      {{"--app", "x", "--threads", "1025"}, "--threads wants a number from 1 to 1024, not '1025'"},
      {{"--app", "x", "--threads", "4x"}, "--threads wants a number from 1 to 1024, not '4x'"},
      {{"--app", "x", "--threads", "99999999999999"}, "--threads wants a number"},
      {{"--app", "x", "--hanging-after", "0"}, "--hanging-after wants a number from 1 to 3600000, not '0'"},
      {{"--application", "x"}, "unknown option '--application'"}};
  for (const auto& [words, sentence] : cases) {
    const Ended ended = run_wsgi(words);
    EXPECT_EQ(ended.code, 2) << sentence;
    EXPECT_EQ(ended.said.find(std::string("penstock-wsgi: ") + sentence), 0U) << ended.said;
  }
}

TEST(WsgiStart, says_why_an_application_cannot_be_loaded) {
  const Folder folder;
  folder.put("broken.py", "def application(:\n");
  folder.put("raises.py", "import sys\nraise KeyError('at import')\n");
  folder.put("exits.py", "import sys\nsys.exit(0)\n");
  const std::pair<std::vector<std::string>, const char*> cases[] = {
      {{"--app", "missing_module"}, "No module named 'missing_module'"},
      {{"--app", "broken", "--directory", folder.path()}, "SyntaxError"},
      {{"--app", "raises", "--directory", folder.path()}, "KeyError: 'at import'"},
      {{"--app", "exits", "--directory", folder.path()}, "SystemExit"},
      {{"--app", "wsgi_apps:nothing", "--directory", PENSTOCK_WSGI_APPS}, "has no nothing"},
      {{"--app", "wsgi_apps:Holder.nothing", "--directory", PENSTOCK_WSGI_APPS}, "has no Holder.nothing"},
      {{"--app", "wsgi_apps:not_callable", "--directory", PENSTOCK_WSGI_APPS}, "cannot be called: it is a int"},
      {{"--app", "x", "--directory", folder / "none"}, "No such file or directory"},
      {{"--app", "wsgi_apps", "--directory", PENSTOCK_WSGI_APPS}, "not started by penstock"}};
  for (const auto& [words, sentence] : cases) {
    const Ended ended = run_wsgi(words);
    EXPECT_EQ(ended.code, 1) << sentence;
    EXPECT_NE(ended.said.find(sentence), std::string::npos) << ended.said;
  }
  ::setenv("VIRTUAL_ENV", folder.path().c_str(), 1);
  EXPECT_NE(run_wsgi({"--app", "x"}).said.find("VIRTUAL_ENV is no virtual environment"), std::string::npos);
  ::unsetenv("VIRTUAL_ENV");
  folder.put("venv/pyvenv.cfg", "home = /usr/bin\n");
  fs::create_directories(folder / "venv/lib/python2.7/site-packages");
  EXPECT_NE(run_wsgi({"--app", "x", "--directory", folder.path()}).said.find("is not for python3"), std::string::npos);
}

class WsgiDotted : public WsgiProcess {
 protected:
  WsgiDotted() { arguments[1] = "wsgi_apps:Holder.inner"; }
};

TEST_F(WsgiDotted, follows_dots_to_the_callable) { EXPECT_EQ(get("/environ"), "hello\n"); }

class WsgiEnvironment : public WsgiProcess {
 protected:
  WsgiEnvironment() { environment.insert(environment.end(), {{"COLOUR", "blue=green"}, {"PYTHONPATH", "/nowhere"}}); }
};

TEST_F(WsgiEnvironment, is_what_it_was_told) {
  EXPECT_EQ(get("/where"),
            "[\"" PENSTOCK_WSGI_APPS "\", \"/usr\", \"" PENSTOCK_WSGI_APPS "\", \"blue=green\", \"1\", false]");
}

// Of Python's own layout: a module in it, and none in the application's folder.
class WsgiVirtual : public WsgiProcess {
 protected:
  WsgiVirtual() {
    folder.put("venv/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n");
    folder.put("venv/lib/" + version() + "/site-packages/from_venv.py", "WORD = b'from the virtual environment'\n");
    folder.put("app.py",
               "import from_venv, sys\n"
               "def application(environ, start_response):\n"
               "    start_response('200 OK', [])\n"
               "    return [from_venv.WORD, b' ', sys.prefix.encode()]\n");
    arguments = {"--app", "app", "--directory", folder.path()};
  }
  static std::string version() {
    for (int minor = 40; minor > 0; --minor) {
      const std::string name = "python3." + std::to_string(minor);
      if (fs::exists("/usr/bin/" + name)) return name;
    }
    return "python3";
  }
  Folder folder;
};

TEST_F(WsgiVirtual, finds_what_is_installed_in_it) {
  EXPECT_EQ(get("/"), "from the virtual environment " + folder.path() + "/venv");
  EXPECT_FALSE(fs::exists(folder / "__pycache__")) << "it writes nothing beside the application";
}

}  // namespace
}  // namespace penstock
