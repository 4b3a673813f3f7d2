// What of people's prompts the embedded model knows, and lists of other models.
#include "text/known_words.h"

#include <gtest/gtest.h>

#include "base/scratch.h"
#include "io/json.h"
#include "sdgen/error.h"

namespace sdgen {
namespace {

const std::filesystem::path kList = std::filesystem::path(SDGEN_SOURCE) / "models/default/known_words.json";

const KnownWords& embedded() {
  static const KnownWords list(kList);
  return list;
}

// What it makes of a prompt: "" where all is known, "-" where nothing is, before the words that it does not know.
std::string unknown(const KnownWords& list, const std::string& prompt) {
  const KnownWords::Reading reading = list.read({prompt});
  if (reading.known()) return "";
  std::string found = reading.things ? "" : "-";
  for (const std::string& word : reading.unknown) found += (found.empty() ? "" : " ") + word;
  return found;
}

struct Prompt {
  const char* text;
  const char* unknown;
};

// As newcomers type them.
constexpr Prompt kPrompts[] = {
    {"", ""},
    {"a lighthouse at night", "- lighthouse night"},
    {"lighthouse", "- lighthouse"},
    {"Lighthouses, highly detailed, 8k", "- Lighthouses"},
    {"a red apple on a blue background", ""},
    {"an apple", ""},
    {"two red apples", ""},
    {"a cat on a table", "table"},
    {"an apple on a table at night", "table night"},
    {"cats", ""},
    {"Three Cats and a DOG", ""},
    {"foxes and wolves", ""},
    {"knives, strawberries, buses and mice", ""},
    {"a cute fluffy cat", ""},
    {"photo of a cat, highly detailed, 8k, masterpiece", ""},
    {"masterpiece, best quality, ultra-detailed, a wolf", ""},
    {"please draw me a very nice picture of a panda, thank you", ""},
    {"a portrait of an owl, trending on artstation", ""},
    {"a cat. \"a dog\"! (a fox)", ""},
    {"a small fox on the left on a purple background", ""},
    {"a robot to the left of an alien on a black background", ""},
    {"a dinosaur with a hat", ""},
    {"an old steam train", ""},
    {"a police car", ""},
    {"a smiling face", ""},
    {"a T-Rex", ""},
    {"a t rex", ""},
    {"woman's hat", ""},
    {"womans hats", ""},
    {"mrs. claus", ""},
    {"hot-dog", ""},
    {"teddy bears", ""},
    {"a pile of books", ""},
    {"a bowl of ramen", "ramen"},
    {"a red fox in the snow", "snow"},
    {"a panda eating bamboo", "eating bamboo"},
    {"a running dog", "running"},
    {"an astronaut riding a horse on mars", "astronaut riding mars"},
    {"cyberpunk city at night, neon lights, rain", "cyberpunk night neon rain"},
    {"a castle on a hill, watercolor", "hill watercolor"},
    {"a house in the forest", "forest"},
    {"1girl, solo, long hair", "solo hair"},
    {"50mm, f1.8, 4k, a tiger", ""},
    {"a sunset over the ocean", "- sunset ocean"},
    {"a firetruck", "- firetruck"},
    {"elefant", "- elefant"},
    {"a flower", "- flower"},
    {"a sock", "- sock"},  // it draws socks
    {"socks", ""},
    {"an orange", "-"},  // a colour
    {"a beautiful picture", "-"},
    {"mona lisa", "- mona lisa"},
    {"un chat noir", "- un chat noir"},
    {"\u043f\u0438\u043d\u0433\u0432\u0438\u043d", "- \u043f\u0438\u043d\u0433\u0432\u0438\u043d"},
    {"\U0001F34E", "- \U0001F34E"},
    {"!!! 12 ...", ""},
    {"灯塔", "- 灯塔"},
    {"夜晚的灯塔", "- 夜晚 灯塔"},
    {"一只猫", ""},
    {"一只红苹果", ""},
    {"两只红苹果", ""},
    {"红色背景上的猫和苹果", ""},
    {"红色背景上的小小的钥匙", ""},
    {"请画一只大象，谢谢", ""},
    {"请画笔记本，背景是红色", ""},  // not a brush (画笔)
    {"一辆红色的汽车", ""},
    {"卡通风格的狐狸，高清", ""},
    {"老虎在森林里", "森林"},
    {"一只可爱的小猫坐在桌子上", "坐在 桌子"},
    {"一位宇航员骑着马", "宇航员 骑"},
    {"一个女人", "- 女人"},
    {"大熊猫", ""},
    {"猫 and a table", "table"},
};

TEST(KnownWords, OfPrompts) {
  for (const auto& [text, wanted] : kPrompts) EXPECT_EQ(unknown(embedded(), text), wanted) << text;
}

// Every name in the phrasings that the model is graded by, and others; all colours.
TEST(KnownWords, AreAllNames) {
  const std::vector<std::string> english{"draw me a % on a red background please", "a % against an orange background",
                                         "i want a small % on the left, the background is brown",
                                         "two %, cyan background"};
  const std::vector<std::string> chinese{"请画%，背景是红色", "我想要橘色背景上的%", "以棕色为背景的左边的小的%",
                                         "青色背景上的%在猫上面"};
  const Json list = read_json(kList);
  ASSERT_EQ(list["things"].size(), 846u);
  for (const Json& names : list["things"])
    for (const std::string name : names)
      for (std::string text : static_cast<unsigned char>(name[0]) < 0x80 ? english : chinese) {
        text.replace(text.find('%'), 1, name);
        EXPECT_EQ(unknown(embedded(), text), "") << text;
      }
}

TEST(KnownWords, IsOneLineThatNamesWhatIsNear) {
  const auto warning = [](const std::string& prompt) {
    return embedded().warning("default", prompt, embedded().read({prompt}));
  };
  EXPECT_EQ(warning("a lighthouse at night"),
            "the model default knows nothing of \"a lighthouse at night\" and draws something else; it knows 846 "
            "things, such "
            "as castle, house, moon; for others bring a model of your own, for example: sdgen -m "
            "v1-5-pruned-emaonly.safetensors");
  EXPECT_EQ(
      warning("a cat\non a table at Night"),
      "the model default does not know \"table\", \"Night\" of \"a cat\\x0aon a table at Night\"; it knows seat, couch "
      "and lamp, moon");
  const std::string many = warning("a fox aaa bbb ccc ddd eee fff " + std::string(1000, 'h'));
  EXPECT_NE(many.find("\"aaa\", \"bbb\", \"ccc\", \"ddd\", \"eee\" and 2 more words of \"a fox"), std::string::npos)
      << many;
  EXPECT_LT(many.size(), 200u);
  for (const auto& [prompt, near] : std::vector<std::pair<std::string, std::string>>{
           {"elefant", "elephant"},
           {"firetruck", "fire truck"},
           {"a sock", "socks"},
           {"an orange", "tangerine, lemon, peach"},
           {"a goldfish", "fish, seal, tropical fish"},
           {"a computer", "computer disk, computer mouse, desktop computer"},
           {"wizards", "mage, magic wand"},
           {"\u2764\uFE0F", "heart"},
           {"pikachu", "apple, cat, castle"},
           {"灯塔", "欧洲城堡, 房子, 帆船"},
           {"电灯", "灯泡, 警车灯, 横向的红绿灯"}}) {
    const std::string text = warning(prompt), before = "such as ";
    const std::size_t begin = text.find(before) + before.size();
    EXPECT_EQ(text.substr(begin, text.find("; for") - begin), near) << prompt;
  }
}

TEST(KnownWords, ListsOfOthersMayBeShort) {
  const Scratch scratch;
  const KnownWords list(scratch.write("list.json", R"({"things": [["red hut"], ["Zug", "train"]], "empty": ["a"]})"));
  EXPECT_EQ(unknown(list, "a zug, trains"), "");
  EXPECT_EQ(unknown(list, "a red hut"), "");
  EXPECT_EQ(unknown(list, "a hut of red"), "- hut of red");
  EXPECT_EQ(
      list.warning("m", "a hut", list.read({"a hut"})),
      "the model m knows nothing of \"a hut\" and draws something else; it knows 2 things, such as red hut; for others "
      "bring a model of your own, for example: sdgen -m v1-5-pruned-emaonly.safetensors");
}

TEST(KnownWords, MalformedListsAreRefused) {
  const Scratch scratch;
  for (const auto& [json, said] : std::vector<std::pair<std::string, std::string>>{
           {"[]", "object"},
           {"{}", "expected a list of lists of names"},
           {R"({"things": []})", "expected a list of lists of names"},
           {R"({"things": {"a": 1}})", "expected a list of lists of names"},
           {R"({"things": [[]]})", "things"},
           {R"({"things": [["a"], "b"]})", "names"},
           {R"({"things": [["a", 1]]})", "names"},
           {R"({"things": [["a"]], "empty": "of"})", "empty"},
           {R"({"things": [["a"]], "parts": [1]})", "parts"},
           {R"({"things": [["a"]], "near": ["b"]})", "expected an object"},
           {R"({"things": [["a"]], "near": {"b": [1]}})", "numbers of things, 0 to 0"},
           {R"({"things": [["a"]], "near": {"b": [-1]}})", "numbers of things, 0 to 0"},
           {R"({"things": [["a"]], "near": {"b": 0}})", "expected a list of numbers of things"},
           {R"({"things": [["a"]], "examples": [0.0]})", "numbers of things, 0 to 0"}}) {
    try {
      const KnownWords list(scratch.write("list.json", json));
      ADD_FAILURE() << json;
    } catch (const Error& error) {
      EXPECT_EQ(error.fault(), Fault::input) << json;
      EXPECT_NE(std::string(error.what()).find("list.json"), std::string::npos) << error.what();
      EXPECT_NE(std::string(error.what()).find(said), std::string::npos) << error.what();
    }
  }
}

}  // namespace
}  // namespace sdgen
