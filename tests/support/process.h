// Runs the minnow command and keeps what it printed.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <vector>

#include "base/file.h"
#include "support/environment.h"

namespace minnow::testing {

struct Outcome {
  int status = -1;  ///< exit status; 128 + signal when killed
  std::string out, err;
};

struct RunAs {
  bool nobody = false;      ///< drop root
  uint64_t file_limit = 0;  ///< bytes a file may have; 0: no limit
};

inline Outcome run_program(const std::vector<std::string>& command, RunAs how = {}) {
  const TempDir dir;
  const std::string out = dir.file("out"), err = dir.file("err");
  const int out_fd = ::open(out.c_str(), O_CREAT | O_WRONLY, 0644),
            err_fd = ::open(err.c_str(), O_CREAT | O_WRONLY, 0644);
  const pid_t pid = fork();
  if (pid == 0) {
    dup2(out_fd, 1);
    dup2(err_fd, 2);
    close(::open("/dev/null", O_RDONLY));
    if (how.file_limit != 0) {
      const rlimit limit{how.file_limit, how.file_limit};
      setrlimit(RLIMIT_FSIZE, &limit);
      std::signal(SIGXFSZ, SIG_IGN);  // the write then fails with an error, as on a full disk
    }
    if (how.nobody && (setgid(65534) != 0 || setuid(65534) != 0)) _exit(126);
    std::vector<char*> argv;
    for (const std::string& a : command) argv.push_back(const_cast<char*>(a.c_str()));
    argv.push_back(nullptr);
    execv(argv[0], argv.data());
    _exit(127);
  }
  close(out_fd);
  close(err_fd);
  Outcome result;
  int status = 0;
  waitpid(pid, &status, 0);
  result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  const auto read = [](const std::string& path) {
    auto text = read_text_file(path, uint64_t{1} << 30);
    return text.ok() ? *text : std::string();
  };
  result.out = read(out);
  result.err = read(err);
  return result;
}

}  // namespace minnow::testing
