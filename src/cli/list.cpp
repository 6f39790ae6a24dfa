// narae list: the models that are on this machine.
#include "base/json.h"
#include "base/log.h"
#include "base/progress.h"
#include "checkpoint/checkpoint.h"
#include "cli/output.h"
#include "cli/table.h"
#include "cli/verb.h"

#include <memory>

namespace narae::cli {
namespace {

struct Options {
    bool json = false;
};

void run(const Options& o) {
    const std::vector<CachedModel> models = cached_models();
    if (o.json) {
        Json list = Json::array();
        for (const CachedModel& model : models)
            list.push_back({{"name", model.name}, {"path", model.path.string()}, {"bytes", model.bytes}});
        print_output("{}\n", dump_json({{"models", list}}, 2));
        return;
    }
    Table table({{"model"}, {"size", Align::right}, {"path"}});
    for (const CachedModel& model : models) table.add({model.name, format_bytes(model.bytes), model.path.string()});
    if (!table.empty()) write_output(table.text());
    if (models.empty())
        log_info("no models in {} and the Hugging Face cache; `make model` fetches the default one", cache_folder().string());
}

void add(CLI::App& app) {
    auto o = std::make_shared<Options>();
    CLI::App& verb = *app.add_subcommand("list", "The models on this machine");
    verb.add_flag("--json", o->json, "One JSON document");
    verb.footer(
        "The default model and those in the Hugging Face cache ($HF_HUB_CACHE, $HF_HOME/hub, ~/.cache/huggingface/hub). Any "
        "other\n"
        "model is named by its folder or file.\nExample:\n  narae list");
    verb.callback([o] { run(*o); });
}

const Verb kList = {"list", add};
const RegisterVerb kRegister(kList);

}  // namespace
}  // namespace narae::cli
